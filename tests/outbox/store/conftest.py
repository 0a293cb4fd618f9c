"""Each test of the store runs on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from convex_messaging_fastapi.outbox.store.dialects import reading_committed
from tests.outbox.databases import ON_EACH, engine_with_tables, url_of
from tests.outbox.store.support import Stored


@pytest.fixture(params=ON_EACH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request, request.param, tmp_path)


@pytest.fixture
async def stored(url: str) -> AsyncIterator[Stored]:
    async with engine_with_tables(url) as (engine, tables):
        yield Stored(reading_committed(engine), tables)
