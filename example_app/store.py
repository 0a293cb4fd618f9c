"""What the service knows, in SQLite.

Kafka delivers at least once, so a handler may see a message again after a crash. `first_time` is
the usual answer: an inbox that remembers which message each handler has seen, written in the same
transaction as the work itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, email TEXT NOT NULL,
                                  welcomed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS bets (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, stake TEXT NOT NULL,
                                 card TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'placed');
CREATE TABLE IF NOT EXISTS inbox (handler TEXT, message_id TEXT, times INTEGER NOT NULL,
                                  PRIMARY KEY (handler, message_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, message TEXT,
                                         error TEXT NOT NULL, failed_at TEXT NOT NULL);
"""


class Store:
    """One SQLite file; `:memory:` forgets everything at the end."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def first_time(self, handler: str, message_id: str) -> bool:
        """Note that `handler` sees this message, and say whether it never has before."""
        (times,) = self._db.execute(
            "INSERT INTO inbox VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times",
            (handler, message_id),
        ).fetchone()
        return bool(times == 1)

    def add_user(self, email: str) -> int:
        return self._insert("INSERT INTO users (email) VALUES (?)", email)

    def welcome(self, user_id: int) -> None:
        self._db.execute("UPDATE users SET welcomed = 1 WHERE id = ?", (user_id,))

    def add_bet(self, user_id: int, stake: str, card: str) -> int:
        return self._insert("INSERT INTO bets (user_id, stake, card) VALUES (?, ?, ?)", user_id, stake, card)

    def set_bet_status(self, bet_id: int, status: str) -> None:
        self._db.execute("UPDATE bets SET status = ? WHERE id = ?", (status, bet_id))

    def add_dead_letter(self, topic: str, message: str | None, error: str, failed_at: str) -> None:
        self._insert(
            "INSERT INTO dead_letters (topic, message, error, failed_at) VALUES (?, ?, ?, ?)",
            topic,
            message,
            error,
            failed_at,
        )

    def users(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM users ORDER BY id")

    def bets(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM bets ORDER BY id")

    def dead_letters(self) -> list[dict[str, Any]]:
        return self._rows("SELECT * FROM dead_letters ORDER BY id")

    def handled(self) -> list[dict[str, Any]]:
        """For each handler: how many messages it saw, and how often in all."""
        return self._rows(
            "SELECT handler, COUNT(*) AS messages, SUM(times) AS calls FROM inbox GROUP BY handler"
        )

    def _insert(self, statement: str, *values: object) -> int:
        return int(self._db.execute(statement, values).lastrowid or 0)

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute(query)]
