"""An outbox in SQLite whose relays the tests turn by hand, and an inbox on each kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from convex_messaging_fastapi.outbox import Inbox, MessagingTables
from tests.outbox.databases import ON_EACH, engine_with_tables, url_of
from tests.outbox.effects import Effects, effects_table
from tests.outbox.relaying import FakeOutlet, Setting


@pytest.fixture
async def outlet() -> FakeOutlet:
    return FakeOutlet()


@pytest.fixture
async def setting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setting]:
    async with engine_with_tables(url_of(request, "sqlite", tmp_path)) as (engine, tables):
        yield Setting(engine, tables)


@pytest.fixture(params=ON_EACH)
async def effects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Effects]:
    """Empty, on each kind of database in turn."""
    pool = {} if request.param == "sqlite" else {"pool_size": 12}  # SQLAlchemy 2.0 has no pool for its files
    engine = create_async_engine(url_of(request, request.param, tmp_path), **pool)
    metadata = MetaData()
    found = Effects(engine, MessagingTables(metadata), effects_table(metadata))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield found
    await engine.dispose()


@pytest.fixture
def inbox(effects: Effects) -> Inbox:
    return Inbox(effects.tables, effects.sessions)
