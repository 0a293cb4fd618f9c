"""Databases for the tests of the outbox, each with empty tables of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from convex_messaging_fastapi.outbox import MessagingTables

ON_EACH = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
"""The parameters of a fixture whose tests run on each kind of database."""


def url_of(request: pytest.FixtureRequest, kind: str, folder: Path) -> str:
    """The address of an empty database of this kind."""
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{folder / 'outbox.db'}"
    database: Any = request.getfixturevalue(kind)
    return str(database.async_url)


@asynccontextmanager
async def engine_with_tables(url: str, **options: Any) -> AsyncIterator[tuple[AsyncEngine, MessagingTables]]:
    engine = create_async_engine(url, **options)
    metadata = MetaData()
    tables = MessagingTables(metadata)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    try:
        yield engine, tables
    finally:
        await engine.dispose()
