"""Whether a database is one that an outbox can be relied on in; asked by the relay when it starts."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.exc import NoSuchTableError

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.outbox.transactions import DIALECTS, MYSQL


def check(connection: Connection, tables: MessagingTables) -> None:
    """Return if messages of `tables` keep their order here. Raises `ConfigurationError`, with all reasons.

    What the database raises rises.
    """
    dialect = connection.dialect.name
    if dialect not in DIALECTS:
        raise ConfigurationError(f"an outbox lives in PostgreSQL, SQLite, MariaDB or MySQL, not in {dialect}")
    problems = [*_missing(connection, tables)]
    if not problems:
        problems += _ids_out_of_order(connection, tables.outbox)
    if problems:
        raise ConfigurationError("the outbox cannot work in this database: " + "; ".join(problems))


def _missing(connection: Connection, tables: MessagingTables) -> Iterator[str]:
    inspector = inspect(connection)
    for table in (tables.outbox, tables.lease, tables.inbox):
        try:
            there = {column["name"] for column in inspector.get_columns(table.name, table.schema)}
        except NoSuchTableError:
            there = set()
        if not there:
            yield f"it has no table {table.fullname}: make it by metadata.create_all or a migration"
        elif missing := [column.name for column in table.columns if column.name not in there]:
            yield (
                f"its table {table.fullname} has no {', '.join(missing)}: it was made by another version of "
                "this package, so let Alembic make a migration"
            )


def _ids_out_of_order(connection: Connection, table: Table) -> Iterator[str]:
    """Why the numbers of rows may not rise in the order in which rows are put in."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        yield from _cached_sequence(connection, table)
    elif dialect == "sqlite":
        made = connection.execute(
            text("select sql from sqlite_master where type = 'table' and name = :name"), {"name": table.name}
        ).scalar()
        if "AUTOINCREMENT" not in str(made).upper():
            yield (
                f"the id of {table.name} is without AUTOINCREMENT, so SQLite gives the id of a deleted row "
                "out again: make the table by metadata.create_all, or with sqlite_autoincrement"
            )
    elif dialect in MYSQL:
        yield from _several_writers(connection)


def _cached_sequence(connection: Connection, table: Table) -> Iterator[str]:
    cached = connection.execute(
        text(
            "select s.seqcache from pg_sequence s"
            " where s.seqrelid = pg_get_serial_sequence(:table, 'id')::regclass"
        ),
        {"table": ".".join(f'"{part}"' for part in (table.schema, table.name) if part)},
    ).scalar()
    if cached is None:
        yield f"the id of {table.fullname} has no sequence of its own: make it an identity column"
    elif cached > 1:
        yield (
            f"the sequence of {table.fullname}.id has a cache of {cached}, so the numbers of two sessions "
            f"are not in order: alter table {table.fullname} alter column id set cache 1"
        )


def _several_writers(connection: Connection) -> Iterator[str]:
    step = connection.execute(text("select @@auto_increment_increment")).scalar()
    if step != 1:
        yield (
            f"auto_increment_increment is {step}, as in a cluster that several servers write to (Galera): "
            "numbers of rows are not in order there. Let the outbox live in a database with one writer"
        )
