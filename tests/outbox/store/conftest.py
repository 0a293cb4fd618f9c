"""Each test of the store runs on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.outbox.databases import POSTGRES, postgresql_tables, sqlite_tables
from tests.outbox.store.support import Stored


@pytest.fixture(params=["sqlite", "postgresql"])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stored]:
    if request.param == "sqlite":
        async with sqlite_tables(tmp_path) as (engine, tables):
            yield Stored(engine, tables)
        return
    if POSTGRES is None:
        pytest.skip("no PostgreSQL")
    async with postgresql_tables(POSTGRES) as (engine, tables):
        yield Stored(engine, tables)
