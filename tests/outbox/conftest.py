"""An outbox in SQLite, whose relays the tests turn by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.outbox.databases import engine_with_tables, url_of
from tests.outbox.relaying import FakeOutlet, Setting


@pytest.fixture
async def outlet() -> FakeOutlet:
    return FakeOutlet()


@pytest.fixture
async def setting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setting]:
    async with engine_with_tables(url_of(request, "sqlite", tmp_path)) as (engine, tables):
        yield Setting(engine, tables)
