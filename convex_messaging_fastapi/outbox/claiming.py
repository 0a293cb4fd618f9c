"""The statements of the inbox: take a message for a handler, in the transaction of its effects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select, text, tuple_
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.outbox.tables import MessagingTables, utc_now
from convex_messaging_fastapi.outbox.transactions import MYSQL

LOCK_SECONDS = 5
"""How long a claim waits for another transaction that has claimed the same. That one may be of a process
that was frozen, and would keep its lock until its connection is given up."""

ROWS_A_CLEANING = 1_000


def claim(connection: Connection, tables: MessagingTables, handler: str, message_id: str) -> bool:
    """Whether the message is new to this handler; then it is noted, if the transaction commits.

    Whoever claims the same beside waits for this transaction, and at most `LOCK_SECONDS`: then the database's
    own error is raised, as for any lock.
    """
    exact = _exact(connection)
    row = {"handler": exact(handler), "message_id": exact(message_id)}
    with _patient(connection):
        # The count of an INSERT is kept for who asks for it alone.
        kept = {"preserve_rowcount": True}
        return connection.execute(_insert(connection, tables), row, execution_options=kept).rowcount == 1


def clean(connection: Connection, tables: MessagingTables, retention: timedelta) -> int:
    """Forget some of what was handled longer ago than `retention`; returns how many."""
    inbox = tables.inbox
    age = _ago(connection, retention)
    key = tuple_(inbox.c.handler, inbox.c.message_id)
    old = select(inbox.c.handler, inbox.c.message_id).where(inbox.c.handled_at < age).limit(ROWS_A_CLEANING)
    # MySQL neither limits a subquery of IN nor reads the table that it deletes from: a table between them.
    within = old.subquery()
    gone = delete(inbox).where(key.in_(select(within.c.handler, within.c.message_id)))
    return connection.execute(gone).rowcount


def _insert(connection: Connection, tables: MessagingTables) -> Insert:
    """Does nothing where the row is there, and hides no other error, as INSERT IGNORE would."""
    match connection.dialect.name:
        case "postgresql":
            return postgresql.insert(tables.inbox).on_conflict_do_nothing()
        case "sqlite":
            return sqlite.insert(tables.inbox).on_conflict_do_nothing()
        case name if name in MYSQL:
            # A row that stays as it is would be counted as one that is new: drivers ask for rows found.
            made = mysql.insert(tables.inbox)
            return made.on_duplicate_key_update(handled_at=text("handled_at + interval 1 microsecond"))
    raise ConfigurationError(
        f"an inbox lives in PostgreSQL, SQLite, MariaDB or MySQL, not in {connection.dialect.name}"
    )


def _exact(connection: Connection) -> Any:
    """How text is given to a column that compares it exactly."""
    return str.encode if connection.dialect.name in MYSQL else str


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """Within it a lock is waited for as long as a claim may; then for as long as before."""
    match connection.dialect.name:
        case "postgresql":
            before = connection.execute(text("select current_setting('lock_timeout')")).scalar()
            connection.execute(text(f"set local lock_timeout = '{LOCK_SECONDS}s'"))
            # Not after an error: the transaction is over then, and the setting with it.
            yield
            connection.execute(text("select set_config('lock_timeout', :before, true)"), {"before": before})
        case name if name in MYSQL:
            before = connection.execute(text("select @@innodb_lock_wait_timeout")).scalar()
            connection.execute(text(f"set innodb_lock_wait_timeout = {LOCK_SECONDS}"))
            try:
                yield
            finally:
                connection.execute(text(f"set innodb_lock_wait_timeout = {before}"))
        case _:
            yield


def _ago(connection: Connection, time: timedelta) -> Any:
    """That long ago by the database's clock."""
    seconds = time.total_seconds()
    match connection.dialect.name:
        case "postgresql":
            return utc_now() - time
        case "sqlite":
            return func.strftime("%Y-%m-%d %H:%M:%f", "now", f"-{seconds:.3f} seconds")
    return func.timestampadd(text("second"), -int(seconds), utc_now())
