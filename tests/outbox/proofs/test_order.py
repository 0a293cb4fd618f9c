"""Order and completeness of what overlapping transactions publish, and why simpler outboxes have neither."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.outbox import Outbox
from tests.outbox.proofs.conftest import Place
from tests.outbox.proofs.load import KEYS, TOPIC, WRITERS, Account, committed, judged, prepare, tables
from tests.support.databases import Database

CI = 6_000
ALL = pytest.param(60_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])


@pytest.mark.parametrize("count", [CI, ALL])
async def test_overlapping_writers_and_two_relays_lose_repeat_and_reorder_nothing(
    count: int, place: Place
) -> None:
    for _ in range(2):
        await asyncio.to_thread(place.relay)
    await place.load(count).run()
    arrived = await place.arrived()
    assert arrived.is_perfect
    assert (arrived.repeats, arrived.records) == (0, sum((await committed(place.engine)).values()))


# -- controls: what simpler outboxes do ---------------------------------------------------------

CONTROL = 1_500
HELD_SECONDS = 0.004


@pytest.fixture
async def engine(postgres: Database) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(postgres.async_url, pool_size=WRITERS + 2)
    await prepare(engine)
    yield engine
    await engine.dispose()


async def written(engine: AsyncEngine, change: Callable[[AsyncConnection, str], Awaitable[None]]) -> None:
    """Transactions of several writers, each of which holds its locks for a moment."""
    left = CONTROL

    async def write(chance: random.Random) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            async with engine.begin() as connection:
                await change(connection, chance.choice(KEYS))
                await asyncio.sleep(chance.random() * HELD_SECONDS)  # simulates work of the transaction

    await asyncio.gather(*(write(random.Random(number)) for number in range(WRITERS)))


async def next_number(connection: AsyncConnection, key: str) -> int:
    found = await connection.execute(
        text("update accounts set number = number + 1 where name = :key returning number"), {"key": key}
    )
    return int(found.scalar_one())


async def insert(connection: AsyncConnection, key: str, number: int) -> None:
    values = {"lane": 0, "topic": TOPIC, "headers": "[]", "message_id": "", "record_key": key.encode()}
    await connection.execute(tables.outbox.insert().values(value=str(number).encode(), **values))


async def test_a_reader_that_remembers_the_last_id_loses_what_is_committed_late(engine: AsyncEngine) -> None:
    """The control for rows that are deleted: an id is taken at the insert, and seen at the commit."""
    read: list[tuple[str, int]] = []
    done = asyncio.Event()

    async def follow() -> None:
        last, rows = 0, tables.outbox.c
        async with engine.connect() as reading:
            connection = await reading.execution_options(isolation_level="AUTOCOMMIT")
            while True:
                is_last = done.is_set()
                wanted = select(rows.id, rows.record_key, rows.value).where(rows.id > last).order_by(rows.id)
                for id, key, value in await connection.execute(wanted):
                    last = id
                    read.append((key.decode(), int(value)))
                if is_last:
                    return
                await asyncio.sleep(0.001)  # simulates work of a relay

    async def change(connection: AsyncConnection, key: str) -> None:
        await insert(connection, key, await next_number(connection, key))

    following = asyncio.ensure_future(follow())
    await written(engine, change)
    done.set()
    await following
    assert judged(await committed(engine), read).lost > 0


async def test_the_order_of_transaction_ids_is_not_that_of_a_key(engine: AsyncEngine) -> None:
    """The control for `ORDER BY id`: a transaction has its id from its first write, which may be early."""
    async with engine.begin() as connection:
        await connection.execute(text("create table visits (name text)"))
        await connection.execute(
            text(f"alter table {tables.outbox.name} add column xid xid8 default pg_current_xact_id()")
        )

    async def change(connection: AsyncConnection, key: str) -> None:
        await connection.execute(text("insert into visits values (:key)"), {"key": key})
        await asyncio.sleep(0)  # simulates work between the first write and the key's lock
        await insert(connection, key, await next_number(connection, key))

    await written(engine, change)
    by_xid, by_id = [await numbers_by(engine, order) for order in ("xid, id", "id")]
    expected = await committed(engine)
    assert judged(expected, by_xid).out_of_order > 0
    assert judged(expected, by_id).is_perfect


async def numbers_by(engine: AsyncEngine, order: str) -> list[tuple[str, int]]:
    async with engine.connect() as connection:
        rows = text(f"select record_key, value from {tables.outbox.name} order by {order}")
        return [(key.decode(), int(value)) for key, value in await connection.execute(rows)]


@pytest.mark.parametrize("ordered", [False, True])
async def test_who_publishes_before_it_locks_the_key_has_its_order_only_by_asking_for_it(
    ordered: bool, engine: AsyncEngine
) -> None:
    outbox = Outbox(MessageBus(MessagingSettings(bootstrap_servers="memory://")), engine, tables, relay=False)
    numbered: dict[str, list[str]] = {key: [] for key in KEYS}

    async def write(number: int) -> None:
        chance = random.Random(number)
        for _ in range(CONTROL // WRITERS // 3):
            async with AsyncSession(engine) as session:
                key = chance.choice(KEYS)
                id = await outbox.publish(session, TOPIC, key, key=key, ordered=ordered)
                await asyncio.sleep(chance.random() * HELD_SECONDS)  # simulates work of the transaction
                account = await session.get_one(Account, key, with_for_update=True)
                account.number += 1
                await session.flush()
                numbered[key].append(id)  # under the lock: the order of the changes
                await session.commit()

    await asyncio.gather(*map(write, range(WRITERS)))
    place_of = {id: (key, place) for key, ids in numbered.items() for place, id in enumerate(ids, 1)}
    async with engine.connect() as connection:
        rows = tables.outbox.c
        ids = (await connection.execute(select(rows.message_id).order_by(rows.id))).scalars().all()
    found = judged(await committed(engine), [place_of[id] for id in ids])
    assert found.lost == 0
    assert (found.out_of_order == 0) is ordered


async def test_the_judge_tells_what_is_lost_repeated_and_out_of_order() -> None:
    key = KEYS[0]
    told = judged({key: 5}, [(key, number) for number in (1, 3, 2, 3, 5)])
    assert (told.lost, told.repeats, told.out_of_order, told.records) == (1, 1, 1, 5)
