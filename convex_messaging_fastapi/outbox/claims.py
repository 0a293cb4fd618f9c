"""Claims of an inbox: one row for each message that a handler has handled, put in before its effects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from typing import Any, NamedTuple

from sqlalchemy import Connection, Insert, Table, func, insert, select, text
from sqlalchemy.dialects import mysql, postgresql, sqlite

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.messages.headers import MESSAGE_ID
from convex_messaging_fastapi.outbox.rows import short_id
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.outbox.transactions import MYSQL, Blocking, connection_of
from convex_messaging_fastapi.records import Delivery


class Claim(NamedTuple):
    """Who handles which message."""

    handler: str
    message_id: str


def claim_of(delivery: Delivery) -> Claim:
    """What a delivery is known by. Raises `ConfigurationError` for one that names no handler.

    Without a `message-id` it is known by its place, which tells our repeats and not those of its producer.
    """
    if not delivery.subscription:
        raise ConfigurationError(
            "this Delivery names no handler, so an inbox cannot tell whose message it is: take the one that "
            "the bus gives, or Delivery.for_test(...) in a test"
        )
    given = next((value for name, value in reversed(delivery.record.headers) if name == MESSAGE_ID), None)
    where = f"{delivery.topic}/{delivery.partition}/{delivery.offset}"
    return Claim(short_id(delivery.subscription), _kept(given) if given else short_id(where))


def _kept(given: bytes) -> str:
    """Ids that differ in a byte stay different: with what is no text replaced, two might become one."""
    try:
        told = given.decode()
    except UnicodeDecodeError:
        told = "\0"
    if "\0" in told:  # which PostgreSQL takes in no text
        return f"sha256:{hashlib.sha256(given).hexdigest()}"
    return short_id(told)


def is_fresh(target: Blocking, tables: MessagingTables, claim: Claim, lock_seconds: float) -> bool:
    """Put the claim in, in the transaction of `target`; `False` where it is there already.

    Waits for another transaction that has it, until that ends: at most `lock_seconds`. Then, and for
    anything else that goes wrong, what the database raises rises.
    """
    inbox = tables.inbox
    connection = connection_of(target, insert(inbox))
    repeated = {"handled_at": text("greatest(utc_timestamp(6), handled_at + interval 1 microsecond)")}
    statement = inserting_unless_there(connection.dialect.name, inbox, claim._asdict(), repeated)
    with _waiting_at_most(connection, lock_seconds):
        # asked for, as drivers need not keep it of an INSERT
        return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1


def inserting_unless_there(
    dialect: str, table: Table, values: Mapping[str, Any], else_on_mysql: Mapping[str, Any]
) -> Insert:
    """Puts a row in, or finds after waiting for whoever has it that it is there. Its row count is 1 if new.

    Not `INSERT IGNORE`, which on MySQL would ignore other failures too. There the row count of one that
    stays as it is is 1 as well, so `else_on_mysql` has to change something, or nobody may ask for it.
    """
    if dialect in MYSQL:
        as_bytes = {name: v.encode() if isinstance(v, str) else v for name, v in values.items()}
        return mysql.insert(table).values(as_bytes).on_duplicate_key_update(dict(else_on_mysql))
    if dialect == "sqlite":
        return sqlite.insert(table).values(dict(values)).on_conflict_do_nothing()
    return postgresql.insert(table).values(dict(values)).on_conflict_do_nothing()


@contextmanager
def _waiting_at_most(connection: Connection, seconds: float) -> Iterator[None]:
    """Bounds what a statement waits for locks. A process that is frozen keeps its own until it is gone."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        setting = "lock_timeout"
        bound = func.set_config(setting, f"{ceil(seconds * 1000)}ms", True)
        before = connection.execute(select(func.current_setting(setting), bound)).one()[0]
        yield
        # Of a transaction that failed it is forgotten anyhow.
        connection.execute(select(func.set_config(setting, before, True)))
    elif dialect in MYSQL:
        connection.exec_driver_sql(
            "set @messaging_lock_wait = @@innodb_lock_wait_timeout, "
            f"innodb_lock_wait_timeout = {max(1, ceil(seconds))}"
        )
        put_back = "set innodb_lock_wait_timeout = @messaging_lock_wait"
        try:
            yield
        except Exception:  # what is cancelled has closed its connection
            connection.exec_driver_sql(put_back)
            raise
        connection.exec_driver_sql(put_back)
    else:  # SQLite waits as long as its driver's `timeout` says
        yield
