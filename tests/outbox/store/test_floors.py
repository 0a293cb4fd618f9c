"""A floor passes rows that are gone, and never one that may still come."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from statistics import median

import pytest
from sqlalchemy import delete, insert, text
from sqlalchemy.ext.asyncio import create_async_engine

from convex_messaging_fastapi.outbox.leases import Claim
from convex_messaging_fastapi.outbox.store.dialects import reading_committed
from convex_messaging_fastapi.outbox.store.floors import Floors
from tests.outbox.databases import engine_with_tables
from tests.outbox.store.support import Stored
from tests.support.databases import Database

LANE, OTHER = 3, 4
TOKENS = {LANE: 1, OTHER: 1}
PLENTY = 1_000_000
ROUNDS = 9


@pytest.fixture
async def on_postgres(postgres: Database) -> AsyncIterator[Stored]:
    async with engine_with_tables(postgres.async_url) as (engine, tables):
        yield Stored(reading_committed(engine), tables)


async def published(stored: Stored, count: int) -> None:
    """So many rows of a lane came and went."""
    columns = "insert into messaging_outbox (lane, topic, headers, message_id)"
    async with stored.engine.begin() as connection:
        rows = f"select {LANE}, 't', '[]', 'm' from generate_series(1, {count})"
        await connection.execute(text(f"{columns} {rows}"))
    async with stored.engine.begin() as connection:
        await connection.execute(delete(stored.tables.outbox))


async def test_it_rises_to_what_was_read_last_where_nothing_is_due(on_postgres: Stored) -> None:
    floors = on_postgres.floors()
    await published(on_postgres, 10)
    await floors.rise(TOKENS)
    assert floors.of(TOKENS) == {}
    await on_postgres.put((OTHER, "due"))
    floors.saw(11)
    await floors.rise(TOKENS)
    assert floors.of(TOKENS) == {LANE: 11}
    found = await on_postgres.fetching.due(TOKENS, 10, 10, PLENTY, floors.of(TOKENS))
    assert [row.id for row in found] == [11]


async def test_a_row_that_is_not_committed_yet_is_waited_for(on_postgres: Stored) -> None:
    floors = on_postgres.floors()
    row = {"lane": LANE, "topic": "late", "headers": "[]", "message_id": "m"}
    async with on_postgres.engine.connect() as connection:
        await connection.execute(insert(on_postgres.tables.outbox), row)
        await published(on_postgres, 5)
        floors.saw(6)
        for _ in range(3):
            await floors.rise(TOKENS)
            assert floors.of(TOKENS) == {}
        await connection.commit()
    await floors.rise(TOKENS)
    assert floors.of(TOKENS) == {OTHER: 6}
    found = await on_postgres.fetching.due(TOKENS, 10, 10, PLENTY, floors.of(TOKENS))
    assert [row.topic for row in found] == ["late"]


async def test_it_holds_for_one_holding_of_a_lane_and_until_rows_are_put_back(on_postgres: Stored) -> None:
    floors = on_postgres.floors()
    await published(on_postgres, 5)
    floors.saw(5)
    await floors.rise(TOKENS)
    assert floors.of({LANE: 2, OTHER: 1}) == {OTHER: 5}
    floors.forget([OTHER])
    assert floors.of(TOKENS) == {LANE: 5}


async def test_rows_that_are_put_back_while_it_is_looked_are_not_passed_over(
    on_postgres: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    floors, owner = on_postgres.floors(), on_postgres.relay("a")
    await owner.prepare()
    await owner.beat(60.0)
    settling = on_postgres.settling(owner)
    await on_postgres.put((LANE, "held"))
    await settling.hold([Claim(LANE, 1)], "held", "")
    look = floors._without_due

    async def look_and_be_late(*given: object) -> list[int]:
        empty = await look(*given)  # type: ignore[arg-type]
        await settling.reopen([Claim(LANE, 1)], "held")
        floors.forget([LANE])
        return empty

    monkeypatch.setattr(floors, "_without_due", look_and_be_late)
    floors.saw(1)
    await floors.rise(TOKENS)
    assert floors.of(TOKENS) == {OTHER: 1}


@pytest.mark.parametrize("count", [200_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_with_a_transaction_left_open_it_rises_and_a_look_costs_what_it_did(
    count: int, on_postgres: Stored
) -> None:
    """The oldest snapshot stands still throughout; by that, looks would become slower and slower."""
    idle = create_async_engine(on_postgres.engine.url, isolation_level="REPEATABLE READ")
    floors = on_postgres.floors()
    async with idle.connect() as connection:
        await connection.execute(text("select 1 from pg_class limit 1"))
        await published(on_postgres, count)
        floors.saw(count)
        await floors.rise(TOKENS)
        assert floors.of(TOKENS) == {LANE: count, OTHER: count}
        await on_postgres.put((LANE, "due"))

        async def look(with_floor: bool) -> float:
            began = time.perf_counter()
            given = floors.of(TOKENS) if with_floor else {}
            assert len(await on_postgres.fetching.due(TOKENS, 10, 10, PLENTY, given)) == 1
            return time.perf_counter() - began

        pairs = [(await look(True), await look(False)) for _ in range(ROUNDS)]
        with_floor, without = (median(times) for times in zip(*pairs, strict=True))
        print(f"{with_floor * 1000:.1f} ms with a floor, {without * 1000:.1f} without")  # noqa: T201
        assert with_floor * 2 < without
    await idle.dispose()


async def test_elsewhere_there_is_none(stored: Stored) -> None:
    if not stored.words.is_postgresql:
        floors = stored.floors()
        floors.saw(1)
        await floors.rise(TOKENS)
        assert floors.of(TOKENS) == {}


async def test_who_may_read_and_change_the_rows_may_look_for_it(on_postgres: Stored) -> None:
    """A service has no rights but those on the tables: neither on the sequence, nor those of a superuser."""
    name = f"service_{uuid.uuid4().hex[:8]}"
    async with on_postgres.engine.begin() as connection:
        await connection.execute(text(f"create role {name} login"))
        await connection.execute(text(f"grant select, insert, update, delete on messaging_outbox to {name}"))
    service = create_async_engine(on_postgres.engine.url.set(username=name))
    floors = Floors(service, on_postgres.tables, on_postgres.words)
    await published(on_postgres, 5)
    floors.saw(5)
    await floors.rise(TOKENS)
    assert floors.of(TOKENS) == {LANE: 5, OTHER: 5}
    await service.dispose()
