"""The relay of an outbox begins and ends with its bus, and tells what it knows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from convex_messaging_fastapi import ConfigurationError, ConvexMessage, MessageBus, MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.outbox import MessagingTables, Outbox
from convex_messaging_fastapi.transport.memory import shared_broker
from tests.outbox.databases import ON_EACH, engine_with_tables, url_of
from tests.support.waiting import eventually


class BetPlaced(ConvexMessage):
    bet: int


@pytest.fixture(params=ON_EACH)
async def database(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[AsyncEngine, MessagingTables]]:
    async with engine_with_tables(url_of(request, request.param, tmp_path)) as found:
        yield found


@pytest.fixture
async def in_sqlite(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[AsyncEngine, MessagingTables]]:
    async with engine_with_tables(url_of(request, "sqlite", tmp_path)) as found:
        yield found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of a cluster in memory that no other test has."""
    return re.sub(r"\W", "_", request.node.name)


def bus_at(name: str) -> MessageBus:
    return MessageBus(MessagingSettings(bootstrap_servers=f"memory://{name}"))


def published(name: str, topic: str = "convex.bet.placed") -> list[bytes | None]:
    return [record.value for record in shared_broker(name, SystemClock()).records(topic)]


async def until(condition: Callable[[], Any]) -> None:
    await eventually(condition, 8.0, "the relay")


async def put(outbox: Outbox, engine: AsyncEngine, *bets: int, topic: str = "bet.placed") -> None:
    async with AsyncSession(engine) as session:
        for bet in bets:
            await outbox.publish(session, topic, BetPlaced(bet=bet), key="a")
        await session.commit()


async def test_what_is_committed_is_published_while_the_bus_runs(
    database: tuple[AsyncEngine, MessagingTables], name: str
) -> None:
    engine, tables = database
    bus = bus_at(name)
    outbox = Outbox(bus, engine, tables)
    async with bus:
        await put(outbox, engine, 1, 2)
        await until(lambda: len(published(name)) == 2)
        await put(outbox, engine, 3)
        await until(lambda: len(published(name)) == 3)
        assert outbox.status().pending is not None
        status = bus.status().outboxes[0]
        assert (status.relay, status.relays, status.lanes) == (True, 1, 64)
        assert (status.published, status.database, status.refused) == (3, None, None)
    assert published(name) == [b'{"Bet":1}', b'{"Bet":2}', b'{"Bet":3}']


async def test_another_process_relays_what_this_one_writes(
    database: tuple[AsyncEngine, MessagingTables], name: str
) -> None:
    engine, tables = database
    writing, relaying = bus_at("elsewhere"), bus_at(name)
    outbox = Outbox(writing, engine, tables, relay=False)
    Outbox(relaying, engine, tables)
    async with writing, relaying:
        await put(outbox, engine, 1)
        await until(lambda: len(published(name)) == 1)
        await until(lambda: outbox.status().relays == 1)
        assert outbox.status().lanes == 0


async def test_a_stop_hands_the_lanes_over_at_once(
    in_sqlite: tuple[AsyncEngine, MessagingTables], name: str
) -> None:
    engine, tables = in_sqlite
    for number in (1, 2):
        bus = bus_at(name)
        outbox = Outbox(bus, engine, tables, lease_seconds=600)
        async with bus:
            await put(outbox, engine, number)
            await until(lambda: len(published(name)) == number)  # noqa: B023


async def test_a_bus_starts_although_the_database_is_away(tmp_path: Path, name: str) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'not' / 'there.db'}")
    metadata = MetaData()
    bus = bus_at(name)
    outbox = Outbox(bus, engine, MessagingTables(metadata))
    async with bus:
        await until(lambda: outbox.status().database is not None)
        (tmp_path / "not").mkdir()
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        await until(lambda: outbox.status().lanes == 64)
        assert outbox.status().database is None
    await engine.dispose()


async def test_a_database_without_the_tables_is_refused(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}")
    bus = bus_at(name)
    outbox = Outbox(bus, engine, MessagingTables(MetaData()))
    async with bus:
        await until(lambda: outbox.status().refused is not None)
    assert "has no table messaging_outbox" in caplog.text
    await engine.dispose()


async def test_one_connection_for_all_is_refused(name: str) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    bus = bus_at(name)
    outbox = Outbox(bus, engine, MessagingTables(MetaData()))
    async with bus:
        await until(lambda: outbox.status().refused is not None)
    await engine.dispose()


async def test_a_bus_has_an_outbox_once(in_sqlite: tuple[AsyncEngine, MessagingTables]) -> None:
    engine, tables = in_sqlite
    bus = bus_at("once")
    Outbox(bus, engine, tables)
    with pytest.raises(ConfigurationError, match="has the outbox messaging_outbox already"):
        Outbox(bus, engine, tables)


@pytest.mark.postgres
async def test_a_commit_in_another_thread_wakes_the_relay(postgres: Any, name: str) -> None:
    from sqlalchemy import create_engine

    async with engine_with_tables(postgres.async_url) as (engine, tables):
        bus = bus_at(name)
        outbox = Outbox(bus, engine, tables, poll_seconds=600)
        blocking = create_engine(postgres.sync_url)

        def write() -> None:
            with Session(blocking) as session:
                outbox.publish_sync(session, "bet.placed", BetPlaced(bet=1), key="a")
                session.commit()

        async with bus:
            await until(lambda: outbox.status().lanes == 64)
            await asyncio.to_thread(write)
            await until(lambda: len(published(name)) == 1)
        blocking.dispose()


@pytest.mark.postgres
async def test_a_notify_of_another_process_wakes_the_relay(postgres: Any, name: str) -> None:
    async with engine_with_tables(postgres.async_url) as (engine, tables):
        writing, relaying = bus_at("elsewhere"), bus_at(name)
        outbox = Outbox(writing, engine, tables, relay=False)
        theirs = Outbox(relaying, engine, tables, poll_seconds=600)
        async with writing, relaying:
            await until(lambda: theirs._relaying._running._waking.is_heard)  # type: ignore[union-attr]
            for bet in range(5):
                await put(outbox, engine, bet)
                await until(lambda: len(published(name)) == bet + 1)  # noqa: B023
            async with engine.connect() as connection:
                listens = "select count(*) from pg_stat_activity where query ilike 'LISTEN%'"
                assert await connection.scalar(text(listens)) == 1


async def test_what_is_kept_stays_for_a_while_and_is_cleaned_up(
    in_sqlite: tuple[AsyncEngine, MessagingTables], name: str
) -> None:
    engine, tables = in_sqlite
    bus = bus_at(name)
    outbox = Outbox(bus, engine, tables, lease_seconds=1, keep=timedelta(milliseconds=1))
    left = [1]

    async def count() -> None:
        async with engine.connect() as connection:
            left[0] = await connection.scalar(select(func.count()).select_from(tables.outbox)) or 0

    async with bus:
        await put(outbox, engine, 1, 2)
        await until(lambda: len(published(name)) == 2)
        for _ in range(20):
            await count()
            if not left[0]:
                break
            looked = bus.status().outboxes[0].looked_seconds
            await until(lambda: bus.status().outboxes[0].looked_seconds != looked)  # noqa: B023
            await asyncio.sleep(0.2)  # simulates work: of the relay until its next beat
    assert left == [0]
