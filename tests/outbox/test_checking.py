"""A database in which messages would lose their order, or their table, is refused with what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, create_engine, event, text

from convex_messaging_fastapi import ConfigurationError
from convex_messaging_fastapi.outbox import MessagingTables
from convex_messaging_fastapi.outbox.checking import check
from tests.support.databases import Database


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def on_postgres(postgres: Database) -> Iterator[Engine]:
    engine = create_engine(postgres.sync_url)
    yield engine
    engine.dispose()


@pytest.fixture
def on_mariadb(mariadb: Database) -> Iterator[Engine]:
    engine = create_engine(mariadb.sync_url)
    yield engine
    engine.dispose()


metadata = MetaData()
tables = MessagingTables(metadata)


def checked(engine: Engine) -> str:
    """What is wrong; empty for nothing."""
    with engine.connect() as connection:
        try:
            check(connection, tables)
        except ConfigurationError as error:
            return str(error)
    return ""


def altered(engine: Engine, *statements: str) -> str:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    return checked(engine)


def test_missing_tables_and_columns_are_named(sqlite: Engine) -> None:
    assert checked(sqlite).count("has no table") == 3
    metadata.create_all(sqlite)
    assert not checked(sqlite)
    said = altered(sqlite, "alter table messaging_outbox drop column error")
    assert "messaging_outbox has no error" in said
    assert "Alembic" in said


def test_sqlite_must_never_give_an_id_out_again(sqlite: Engine) -> None:
    metadata.create_all(sqlite)
    with sqlite.begin() as connection:
        made = connection.execute(
            text("select sql from sqlite_master where name = 'messaging_outbox'")
        ).scalar()
        connection.execute(text("drop table messaging_outbox"))
        connection.execute(text(str(made).replace("AUTOINCREMENT", "")))
    assert "AUTOINCREMENT" in checked(sqlite)


def test_without_autoincrement_a_slow_relay_would_delete_another_row(sqlite: Engine) -> None:
    """What that refusal is for: an id that was deleted comes again, and with it the row it names."""
    with sqlite.begin() as connection:
        connection.execute(text("create table plain (id integer primary key, value text)"))
        connection.execute(text("create table numbered (id integer primary key autoincrement, value text)"))
        for table, again in (("plain", 1), ("numbered", 2)):
            connection.execute(text(f"insert into {table} (value) values ('published')"))
            connection.execute(text(f"delete from {table}"))
            connection.execute(text(f"insert into {table} (value) values ('new')"))
            assert connection.execute(text(f"select id from {table}")).scalar() == again


def test_postgresql_must_number_rows_one_by_one(on_postgres: Engine) -> None:
    metadata.create_all(on_postgres)
    assert not checked(on_postgres)
    said = altered(on_postgres, "alter table messaging_outbox alter column id set cache 20")
    assert "cache of 20" in said
    mend = said.rpartition("alter table")
    assert not altered(on_postgres, "".join(mend[1:]))
    assert "no sequence" in altered(on_postgres, "alter table messaging_outbox alter column id drop identity")


def test_a_database_that_several_servers_write_to_is_refused(on_mariadb: Engine) -> None:
    metadata.create_all(on_mariadb)
    assert not checked(on_mariadb)

    @event.listens_for(on_mariadb, "connect")
    def as_one_of_three(connection: object, _: object) -> None:
        connection.cursor().execute("set auto_increment_increment = 3")  # type: ignore[attr-defined]

    on_mariadb.dispose()
    assert "Galera" in checked(on_mariadb)
