"""The caller's transaction: what it must be, and how an outbox hears that it may have been committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, TwoPhaseTransaction, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.sql.expression import Executable

from convex_messaging_fastapi.errors import ConfigurationError

MYSQL = ("mysql", "mariadb")
DIALECTS = ("postgresql", "sqlite", *MYSQL)

Waiting = AsyncSession | AsyncConnection
Blocking = Session | Connection


def waiting(given: object) -> Waiting:
    """What was given to an awaited verb. Raises `ConfigurationError` for anything else."""
    if isinstance(given, async_scoped_session):
        given = given()
    if isinstance(given, Waiting):
        return given
    if isinstance(given, Blocking | scoped_session):
        raise ConfigurationError(
            f"`await outbox.publish(...)` was given a {type(given).__name__}, which would block the event "
            "loop: use outbox.publish_sync(...) with it, or an AsyncSession here"
        )
    raise ConfigurationError(
        "an outbox writes in a transaction of yours: its first argument is your AsyncSession or "
        f"AsyncConnection, not {type(given).__name__}"
    )


def blocking(given: object) -> Blocking:
    """What was given to `publish_sync`. Raises `ConfigurationError` for anything else."""
    if isinstance(given, scoped_session):
        given = given()
    if isinstance(given, Blocking):
        return given
    if isinstance(given, Waiting | async_scoped_session):
        raise ConfigurationError(
            f"outbox.publish_sync was given an {type(given).__name__}: use `await outbox.publish(...)` "
            "with it"
        )
    raise ConfigurationError(
        "an outbox writes in a transaction of yours: its first argument is your Session or Connection, "
        f"not {type(given).__name__}"
    )


def connection_of(target: Blocking, statement: Executable) -> Connection:
    """The connection on which `target` runs this statement, in a transaction that can be rolled back.

    Raises `ConfigurationError` where it cannot be.
    """
    if isinstance(target, Session):
        if target.twophase:
            raise ConfigurationError(_TWO_PHASE)
        connection = target.connection(bind_arguments={"clause": statement})
    else:
        connection = target
        if isinstance(connection.get_transaction(), TwoPhaseTransaction):
            raise ConfigurationError(_TWO_PHASE)
    if connection.dialect.name not in DIALECTS:
        raise ConfigurationError(
            f"outbox and inbox live in PostgreSQL, SQLite, MariaDB or MySQL, not in {connection.dialect.name}"
        )
    if _is_autocommit(connection):
        raise ConfigurationError(
            "the session is in AUTOCOMMIT, so the row of the message would stay although your changes are "
            "rolled back: give outbox and inbox one with a transaction"
        )
    return connection


def _is_autocommit(connection: Connection) -> bool:
    asked = connection.get_execution_options().get("isolation_level")
    # The level that create_engine was given is kept here alone, unless the database is asked.
    level = asked or getattr(connection.dialect, "_on_connect_isolation_level", None)
    return str(level).upper() == "AUTOCOMMIT"


_TWO_PHASE = (
    "the session commits in two phases, and outbox and inbox cannot tell when the second is done: "
    "give them a session without `twophase`"
)


def tell_of_commit(target: Blocking, tell: Callable[[Any], object]) -> None:
    """Call `tell` when this may have been committed; a savepoint that is released tells so as well.

    So whoever is told looks into the table, and trusts the table alone.
    """
    name = "after_commit" if isinstance(target, Session) else "commit"
    if not event.contains(target, name, tell):
        event.listen(target, name, tell)
