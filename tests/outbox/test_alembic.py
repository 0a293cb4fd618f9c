"""Alembic makes the tables of outbox and inbox by itself, and finds nothing to change once they are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import produce_migrations
from alembic.operations import Operations
from alembic.operations.ops import MigrationScript, OpContainer
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, create_engine, inspect, text

from convex_messaging_fastapi.outbox import MessagingTables
from tests.outbox.databases import ON_EACH


@pytest.fixture(params=ON_EACH)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'outbox.db'}"
    if request.param != "sqlite":
        url = request.getfixturevalue(request.param).sync_url
    engine = create_engine(url)
    yield engine
    engine.dispose()


def wanted() -> MetaData:
    metadata = MetaData()
    Table("bets", metadata, Column("id", Integer, primary_key=True))
    MessagingTables(metadata)
    return metadata


def migration(connection: Connection, metadata: MetaData) -> MigrationScript:
    # Elsewhere than on PostgreSQL it takes the numbering of rows for a default that is missing.
    compares_defaults = connection.dialect.name == "postgresql"
    options = {"compare_server_default": compares_defaults, "target_metadata": metadata}
    context = MigrationContext.configure(connection, opts=options)
    return produce_migrations(context, metadata)


def apply(connection: Connection, operations: Any) -> None:
    doing = Operations(MigrationContext.configure(connection))

    def do(container: Any) -> None:
        for each in container.ops:
            do(each) if isinstance(each, OpContainer) else doing.invoke(each)

    do(operations)


def names(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


OURS = {"messaging_outbox", "messaging_lease", "messaging_inbox"}


def test_a_migration_makes_them_the_next_is_empty_and_the_way_back_removes_them(engine: Engine) -> None:
    metadata = wanted()
    with engine.begin() as connection:
        first = migration(connection, metadata)
        assert first.upgrade_ops is not None
        apply(connection, first.upgrade_ops)
    assert names(engine) == {"bets"} | OURS
    with engine.begin() as connection:
        second = migration(connection, metadata)
        assert second.upgrade_ops is not None
        assert second.upgrade_ops.as_diffs() == []
        assert first.downgrade_ops is not None
        apply(connection, first.downgrade_ops)
    assert names(engine) == set()


def test_what_create_all_made_needs_no_migration(engine: Engine) -> None:
    metadata = wanted()
    metadata.create_all(engine)
    with engine.begin() as connection:
        found = migration(connection, metadata).upgrade_ops
        assert found is not None
        assert found.as_diffs() == []


@pytest.mark.parametrize("engine", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_rows_that_live_shortly_are_cleaned_up_by_number_and_not_by_share(engine: Engine) -> None:
    wanted().create_all(engine)
    told = text("select reloptions from pg_class where relname in ('messaging_outbox', 'messaging_inbox')")
    with engine.begin() as connection:
        options = list(connection.scalars(told))
    assert len(options) == 2
    for each in options:
        assert {"autovacuum_vacuum_scale_factor=0", "autovacuum_vacuum_threshold=5000"} <= set(each)
