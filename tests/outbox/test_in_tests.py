"""In `bus.test()` a message of the outbox is published by `settle`, if its transaction was committed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings
from convex_messaging_fastapi.outbox import MessagingTables, Outbox

metadata = MetaData()
tables = MessagingTables(metadata)


class BetPlaced(ConvexMessage):
    bet: int


@pytest.fixture(params=["memory", "file"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    where = ":memory:" if request.param == "memory" else str(tmp_path / "bets.db")
    engine = create_async_engine(f"sqlite+aiosqlite:///{where}")
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture
def bus() -> MessageBus:
    return MessageBus(MessagingSettings(bootstrap_servers="memory://"))


async def test_what_is_committed_is_published(bus: MessageBus, engine: AsyncEngine) -> None:
    outbox = Outbox(bus, engine, tables)
    async with bus.test() as t, AsyncSession(engine) as session:
        await outbox.publish(session, "bet.placed", BetPlaced(bet=1), key="a")
        await outbox.publish(session, "bet.placed", BetPlaced(bet=2), key="a")
        await session.commit()
        assert t.published("bet.placed") == []
        await t.settle()
        assert t.published("bet.placed") == [{"Bet": 1}, {"Bet": 2}]
        assert outbox.status().published == 2


async def test_what_is_rolled_back_is_not(bus: MessageBus, engine: AsyncEngine) -> None:
    outbox = Outbox(bus, engine, tables)
    async with bus.test() as t, AsyncSession(engine) as session:
        await outbox.publish(session, "bet.placed", BetPlaced(bet=1), key="a")
        await session.rollback()
        await t.settle()
        assert t.published("bet.placed") == []


async def test_what_is_not_committed_yet_is_not_either(bus: MessageBus, engine: AsyncEngine) -> None:
    outbox = Outbox(bus, engine, tables)
    async with bus.test() as t, AsyncSession(engine) as session:
        await outbox.publish(session, "bet.placed", BetPlaced(bet=1), key="a")
        await t.settle()
        assert t.published("bet.placed") == []
        await session.rollback()
        await t.settle()
        assert t.published("bet.placed") == []


async def test_what_a_handler_puts_into_the_outbox_is_published_too(
    bus: MessageBus, engine: AsyncEngine
) -> None:
    outbox = Outbox(bus, engine, tables)

    @bus.subscriber("bet.placed")
    async def settle(event: BetPlaced) -> None:
        async with AsyncSession(engine) as session:
            await outbox.publish(session, "bet.settled", event)
            await session.commit()

    async with bus.test() as t, AsyncSession(engine) as session:
        await outbox.publish(session, "bet.placed", BetPlaced(bet=1))
        await session.commit()
        await t.settle()
        assert t.published("bet.settled") == [{"Bet": 1}]
        assert t.handled(settle) == [BetPlaced(bet=1)]
