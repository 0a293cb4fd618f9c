"""What the tests of the inbox share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from convex_messaging_fastapi.outbox import Inbox, MessagingTables
from tests.outbox.databases import ON_EACH, url_of
from tests.outbox.effects import Effects, effects_table


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
