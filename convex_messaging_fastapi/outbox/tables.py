"""The three tables: messages to be published, who may publish them, and messages that were handled."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    event,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeEngine

from convex_messaging_fastapi.errors import ConfigurationError

DUE = 0
HELD = 1
PARKED = 2
DELIVERED = 3
"""The states of a row: to be published; waiting until its topic can be written again; set aside for a
person; published, and kept for a while."""

LANES = 64
"""For ever: two deployments with other numbers would put one key in two lanes, and two relays to one key."""

TOPIC_CHARS = 249
ID_CHARS = 255
NAME_CHARS = 64

_UTF8_BYTES = 4

_AUTOVACUUM = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 5000,
    "autovacuum_vacuum_cost_delay": 0,
}
"""Rows live shortly: by PostgreSQL's own rule a fifth of the table would be dead before anybody cleaned."""


_TAKES_THEM = tuple(map(int, sqlalchemy.__version__.split(".")[:2])) >= (2, 1)
"""SQLAlchemy 2.0 has no such argument of a table, so there they are set once the table is made."""


class utc_now(GenericFunction[Any]):  # noqa: N801 - the name of a function of SQL
    """The time of the database, in UTC: the clocks of services differ."""

    type: TypeEngine[Any] = DateTime(timezone=True)
    inherit_cache: bool = True


@compiles(utc_now, "postgresql")
def _on_postgresql(element: utc_now, compiler: SQLCompiler, **options: Any) -> str:
    return "clock_timestamp()"


@compiles(utc_now, "mysql", "mariadb")
def _on_mysql(element: utc_now, compiler: SQLCompiler, **options: Any) -> str:
    return "(utc_timestamp(6))"


@compiles(utc_now, "sqlite")
def _on_sqlite(element: utc_now, compiler: SQLCompiler, **options: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"


def _exact(characters: int) -> String:
    """Text that is equal only to itself: neither case nor a trailing space may be overlooked.

    MySQL's and MariaDB's collations that heed both have no name in common, so there it is bytes.
    """
    of_bytes = mysql.VARBINARY(characters * _UTF8_BYTES)
    return (
        String(characters)
        .with_variant(String(characters, collation="C"), "postgresql")
        .with_variant(of_bytes, "mysql", "mariadb")
    )


def _bytes() -> LargeBinary:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def _text() -> Text:
    return Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def _time() -> DateTime:
    return DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


class MessagingTables:
    """The tables of outbox and inbox, as part of your own `MetaData`.

        tables = MessagingTables(Base.metadata)

    `metadata.create_all` makes them, and Alembic's autogenerate sees them, as with tables of your own. They
    are `{prefix}_outbox`, `{prefix}_lease` and `{prefix}_inbox` in `schema`, by default the one of the
    metadata. They have no foreign keys and no triggers, and a migration puts no rows into them. Raises
    `ConfigurationError` for a prefix that is no name.
    """

    def __init__(self, metadata: MetaData, *, schema: str | None = None, prefix: str = "messaging") -> None:
        if not isinstance(metadata, MetaData):
            raise ConfigurationError(
                f"MessagingTables takes a MetaData, such as Base.metadata, not {type(metadata).__name__}"
            )
        if not isinstance(prefix, str) or not prefix.isidentifier():
            raise ConfigurationError(
                f"the prefix of the tables is a name, such as 'messaging', not {prefix!r}"
            )
        where: dict[str, Any] = {} if schema is None else {"schema": schema}
        self.prefix: str = prefix
        self.outbox: Table = _outbox(f"{prefix}_outbox", metadata, where)
        self.lease: Table = _lease(f"{prefix}_lease", metadata, where)
        self.inbox: Table = _inbox(f"{prefix}_inbox", metadata, where)


def _outbox(name: str, metadata: MetaData, where: dict[str, Any]) -> Table:
    table = Table(
        name,
        metadata,
        Column(
            "id",
            BigInteger().with_variant(Integer(), "sqlite"),
            Identity(),
            primary_key=True,
            autoincrement=True,
        ),
        Column("lane", SmallInteger, nullable=False),
        Column("state", SmallInteger, nullable=False, server_default="0"),
        Column("topic", _exact(TOPIC_CHARS), nullable=False),
        Column("record_key", _bytes()),
        Column("value", _bytes()),
        Column("headers", _text(), nullable=False),
        Column("message_id", _exact(ID_CHARS), nullable=False),
        Column("created_at", _time(), nullable=False, server_default=utc_now()),
        Column("settled_at", _time()),
        Column("error", _text()),
        # the id of a deleted row must never be given out again: a slow relay may still delete it
        sqlite_autoincrement=True,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        **_autovacuum(),
        **where,
    )
    _set_autovacuum_of(table)
    state = table.c.state
    due, aside = state == DUE, state != DUE
    Index(f"{name}_due", table.c.lane, state, table.c.id, postgresql_where=due, sqlite_where=due)
    Index(f"{name}_aside", state, table.c.topic, table.c.id, postgresql_where=aside, sqlite_where=aside)
    return table


def _lease(name: str, metadata: MetaData, where: dict[str, Any]) -> Table:
    return Table(
        name,
        metadata,
        Column("name", _exact(NAME_CHARS), primary_key=True),
        Column("owner", _exact(NAME_CHARS)),
        Column("token", BigInteger, nullable=False),
        # SQLite has no times: Unix milliseconds there
        Column("until", _time().with_variant(BigInteger(), "sqlite"), nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        **where,
    )


def _inbox(name: str, metadata: MetaData, where: dict[str, Any]) -> Table:
    table = Table(
        name,
        metadata,
        Column("handler", _exact(ID_CHARS), primary_key=True),
        Column("message_id", _exact(ID_CHARS), primary_key=True),
        Column("handled_at", _time(), nullable=False, server_default=utc_now()),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        **_autovacuum(),
        **where,
    )
    _set_autovacuum_of(table)
    Index(f"{name}_age", table.c.handled_at)
    return table


def _autovacuum() -> dict[str, Any]:
    return {"postgresql_with": _AUTOVACUUM} if _TAKES_THEM else {}


def _set_autovacuum_of(table: Table) -> None:
    """By `create_all` alone: a migration of Alembic does not hear of it."""
    if not _TAKES_THEM:
        settings = ", ".join(f"{name} = {value}" for name, value in _AUTOVACUUM.items())
        ddl = DDL(f"ALTER TABLE %(fullname)s SET ({settings})")  # type: ignore[no-untyped-call]
        event.listen(table, "after_create", ddl.execute_if(dialect="postgresql"))
