"""The statements of the inbox: take a message for a handler, in the transaction of its effects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, insert, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.messages.headers import MESSAGE_ID
from convex_messaging_fastapi.outbox.rows import short_id
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.outbox.transactions import MYSQL, Blocking, connection_of
from convex_messaging_fastapi.records import Delivery

LOCK_SECONDS = 5
"""How long a claim waits for another transaction that has claimed the same. That one may be of a process
that was frozen, and would keep its lock until its connection is given up."""


class Claim(NamedTuple):
    """Who handles which message."""

    handler: str
    message_id: str


def claim_of(delivery: Delivery) -> Claim:
    """What a message is known by to its handler. Raises `ConfigurationError` if it names no handler."""
    if not delivery.subscription:
        raise ConfigurationError(
            "this Delivery names no handler, so an inbox cannot tell whose message it is: take the one that "
            "the bus gives, or Delivery.for_test(...) in a test"
        )
    headers = reversed(delivery.record.headers)
    given = next((value for name, value in headers if name == MESSAGE_ID and value is not None), None)
    where = f"{delivery.topic}/{delivery.partition}/{delivery.offset}"
    return Claim(short_id(delivery.subscription), _kept(given) if given else short_id(where))


def _kept(given: bytes) -> str:
    """An id that is no text, as foreign producers may write it, is told by its SHA-256.

    With its bytes replaced two ids might become one, and the second message would never be handled. A zero
    is text, which PostgreSQL takes in none.
    """
    try:
        told = given.decode()
    except UnicodeDecodeError:
        told = None
    if told is None or "\0" in told:
        return f"sha256:{hashlib.sha256(given).hexdigest()}"
    return short_id(told)


def take(target: Blocking, tables: MessagingTables, claim: Claim) -> bool:
    """Whether the message is new to this handler; then it is noted, if the transaction commits.

    Whoever claims the same beside waits for this transaction, and at most `LOCK_SECONDS`: then the database's
    own error is raised, as for any lock. Raises `ConfigurationError` for a transaction that cannot be rolled
    back: the note would stay though the effects are undone.
    """
    inbox = tables.inbox
    connection = connection_of(target, insert(inbox))
    # A row that stays as it is would be counted as one that is new: MySQL's drivers ask for rows found.
    changed = {"handled_at": text("handled_at + interval 1 microsecond")}
    statement = inserting_unless_there(connection.dialect.name, inbox, claim._asdict(), changed)
    with _patient(connection):
        # The count of an INSERT is kept for who asks for it alone.
        kept = {"preserve_rowcount": True}
        return connection.execute(statement, execution_options=kept).rowcount == 1


def inserting_unless_there(
    dialect: str, table: Table, row: Mapping[str, Any], changed_on_mysql: Mapping[str, Any]
) -> Insert:
    """Does nothing where the row is there, and hides no other error, as INSERT IGNORE would."""
    if dialect in MYSQL:
        exact = {name: each.encode() if isinstance(each, str) else each for name, each in row.items()}
        return mysql.insert(table).values(exact).on_duplicate_key_update(dict(changed_on_mysql))
    if dialect == "sqlite":
        return sqlite.insert(table).values(dict(row)).on_conflict_do_nothing()
    return postgresql.insert(table).values(dict(row)).on_conflict_do_nothing()


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
            put_back = text(f"set innodb_lock_wait_timeout = {before}")
            try:
                yield
            except Exception:  # and not a cancellation, which has closed the connection
                connection.execute(put_back)
                raise
            connection.execute(put_back)
        case _:
            yield
