"""Databases for the tests of the outbox, each with empty tables of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from convex_messaging_fastapi.outbox import MessagingTables


@asynccontextmanager
async def sqlite_tables(folder: Path) -> AsyncIterator[tuple[AsyncEngine, MessagingTables]]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'outbox.db'}")
    metadata = MetaData()
    tables = MessagingTables(metadata)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    try:
        yield engine, tables
    finally:
        await engine.dispose()


@asynccontextmanager
async def postgresql_tables(url: str) -> AsyncIterator[tuple[AsyncEngine, MessagingTables]]:
    """In a schema of their own, which is dropped afterwards."""
    engine = create_async_engine(url)
    schema = f"outbox_{uuid4().hex[:12]}"
    metadata = MetaData(schema=schema)
    tables = MessagingTables(metadata)
    async with engine.begin() as connection:
        await connection.execute(text(f"CREATE SCHEMA {schema}"))
        await connection.run_sync(metadata.create_all)
    try:
        yield engine, tables
    finally:
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        await engine.dispose()


POSTGRES = os.environ.get("TEST_POSTGRES_URL")
