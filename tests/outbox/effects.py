"""A database with the tables of an inbox and one of effects, of which each row is one thing done."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from convex_messaging_fastapi import Delivery
from convex_messaging_fastapi.outbox import Inbox, MessagingTables


class Effects:
    """What handlers have done here."""

    def __init__(self, engine: AsyncEngine, tables: MessagingTables, table: Table) -> None:
        self.engine = engine
        self.tables = tables
        self.table = table
        self.sessions = async_sessionmaker(engine)

    @property
    def kind(self) -> str:
        return self.engine.dialect.name

    def doing(self, what: str) -> Any:
        return insert(self.table).values(what=what)

    async def done(self) -> list[str]:
        async with self.engine.connect() as connection:
            return list(await connection.scalars(select(self.table.c.what).order_by(self.table.c.id)))

    async def known(self) -> int:
        """How many claims there are."""
        async with self.engine.connect() as connection:
            return len(list(await connection.execute(select(self.tables.inbox))))

    async def handle(self, inbox: Inbox, delivery: Delivery, what: str = "done") -> None:
        """As a handler that takes `inbox.session` does."""
        async with session_of(inbox, delivery) as session:
            await session.execute(self.doing(what))


def effects_table(metadata: MetaData) -> Table:
    return Table(
        "effects",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("what", String(100), nullable=False),
    )


def session_of(inbox: Inbox, delivery: Delivery) -> AbstractAsyncContextManager[AsyncSession]:
    return asynccontextmanager(inbox.session)(delivery)
