"""Relays that are killed and frozen, a database that restarts, a Kafka that is away: nothing is lost."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from tests.outbox.proofs.conftest import BATCH, LEASE_SECONDS, Place
from tests.outbox.proofs.load import KEYS, TOPIC, Account
from tests.support.independent import Independent
from tests.support.waiting import eventually, pass_time, until

pytestmark = pytest.mark.faults

BETWEEN_KILLS = 0.5
AWAY_SECONDS = 6.0


def counts(ci: int, all: int, seconds: int) -> pytest.MarkDecorator:
    """A tenth in CI; the whole in the long lane."""
    long = [pytest.mark.long, pytest.mark.timeout(seconds)]
    return pytest.mark.parametrize("count", [ci, pytest.param(all, marks=long)])


@counts(2, 20, 900)
async def test_relays_that_are_killed_under_load_lose_nothing_and_repeat_a_batch(
    count: int, place: Place
) -> None:
    chance = random.Random(place.seed)
    alive = [await asyncio.to_thread(place.relay) for _ in range(2)]
    loading = asyncio.ensure_future(place.load(1_500 * count).run())
    for _ in range(count):
        await asyncio.to_thread(pass_time, BETWEEN_KILLS)
        killed = alive.pop(chance.randrange(2))
        killed.kill()
        alive.append(await asyncio.to_thread(place.relay))
    await loading
    arrived = await place.arrived()
    assert arrived.is_perfect
    assert arrived.repeats <= count * BATCH


def is_written(witness: Independent, topic: str, wanted: int) -> bool:
    return sum(witness.ends(topic).values()) >= wanted


def key_of(message: dict[str, Any]) -> str:
    return str(message["key"])


@counts(1, 8, 1_800)
async def test_relays_that_are_killed_in_a_backlog_keep_its_order(count: int, place: Place) -> None:
    size = 300_000 if count == 8 else 20_000
    async with AsyncSession(place.engine) as session, session.begin():
        for key in KEYS:
            account = await session.get_one(Account, key)
            account.number = size // len(KEYS)
        for first in range(1, size // len(KEYS) + 1, 500):
            numbers = range(first, min(first + 500, size // len(KEYS) + 1))
            messages = [{"key": key, "number": number} for number in numbers for key in KEYS]
            await place.outbox.publish_many(session, TOPIC, messages, key=key_of)
    topic, witness = f"{place.prefix}.{TOPIC}", Independent(place.kafka.bootstrap)

    for number in range(count):
        relays = [await asyncio.to_thread(place.relay) for _ in range(2)]
        wanted = size * (number + 1) // (count + 2)
        arrived_so_far = partial(is_written, witness, topic, wanted)
        await asyncio.to_thread(until, arrived_so_far, 300, f"{wanted} rows in the topic")
        for relay in relays:
            relay.kill()
    await asyncio.to_thread(place.relay)
    arrived = await place.arrived()
    assert arrived.is_perfect
    assert arrived.repeats <= 2 * count * BATCH


@counts(1, 6, 900)
async def test_a_relay_that_was_frozen_past_its_lease_puts_nothing_first_that_comes_later(
    count: int, place: Place
) -> None:
    relays = [await asyncio.to_thread(place.relay) for _ in range(2)]
    loading = asyncio.ensure_future(place.load(2_000 * count).run())
    for number in range(count):
        frozen = relays[number % 2]
        await asyncio.to_thread(pass_time, BETWEEN_KILLS)
        frozen.send(signal.SIGSTOP)
        await asyncio.to_thread(pass_time, LEASE_SECONDS * 1.5)
        frozen.send(signal.SIGCONT)
    await loading
    arrived = await place.arrived()
    assert arrived.is_perfect
    assert arrived.repeats <= count * BATCH


async def test_what_a_killed_relay_held_is_taken_over_within_its_lease(place: Place) -> None:
    await asyncio.to_thread(place.kafka.create_topic, f"{place.prefix}.probe", 1)
    killed, _ = [await asyncio.to_thread(place.relay) for _ in range(2)]
    await place.load(200).run()
    await place.drained()
    killed.kill()
    began = time.monotonic()
    async with AsyncSession(place.engine) as session, session.begin():
        for number in range(256):  # so many keys have every lane
            await place.outbox.publish(session, "probe", number, key=str(number))
    await place.drained()
    taken = time.monotonic() - began
    print(f"seed {place.seed}: taken over after {taken:.1f} s")  # noqa: T201
    assert taken <= LEASE_SECONDS * 4 / 3 + 1


Away = Callable[[Place, float], None]


def the_database_restarts(place: Place, _: float) -> None:
    place.database.server.stop()
    place.database.server.start()


def kafka_is_away(place: Place, seconds: float) -> None:
    for broker in place.kafka.brokers:
        broker.kill()
    pass_time(seconds)
    for broker in place.kafka.brokers:
        broker.start()
    place.kafka.wait_answering()


def both_are_away(place: Place, seconds: float) -> None:
    place.database.server.kill()
    kafka_is_away(place, seconds)
    place.database.server.start()


@pytest.mark.parametrize(
    "seconds", [AWAY_SECONDS, pytest.param(40.0, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
@pytest.mark.parametrize("away", [the_database_restarts, kafka_is_away, both_are_away])
async def test_what_is_away_and_returns_costs_no_message(away: Away, seconds: float, place: Place) -> None:
    await asyncio.to_thread(place.relay)
    loading = asyncio.ensure_future(place.load(2_000).run())
    await asyncio.to_thread(pass_time, BETWEEN_KILLS)
    await asyncio.to_thread(away, place, seconds)
    await loading
    arrived = await place.arrived()
    assert arrived.is_perfect


Trouble = Callable[[Place], Awaitable[None]]


async def its_relay_is_killed(place: Place) -> None:
    place.relays[0].kill()
    await asyncio.to_thread(place.relay)


async def its_relay_is_frozen(place: Place) -> None:
    another = await asyncio.to_thread(place.relay)
    place.relays[0].send(signal.SIGSTOP)
    await asyncio.to_thread(pass_time, LEASE_SECONDS * 1.5)
    place.relays[0].send(signal.SIGCONT)
    assert another.alive


@pytest.mark.parametrize("trouble", [its_relay_is_killed, its_relay_is_frozen])
async def test_a_topic_that_comes_late_has_everything_in_order(trouble: Trouble, place: Place) -> None:
    await asyncio.to_thread(place.relay)
    topic = f"{place.prefix}.later"
    numbers = range(300)
    async with AsyncSession(place.engine) as session, session.begin():
        for number in numbers:
            await place.outbox.publish(session, "later", number, key=str(number % 8))
    await eventually(lambda: "later" in place.relays[0].log.read_text(), 30, "the relay to say that it waits")
    await trouble(place)
    await asyncio.to_thread(place.kafka.create_topic, topic, 4)
    await place.drained()
    records = await asyncio.to_thread(Independent(place.kafka.bootstrap).read, topic)
    for key in range(8):
        told = [int(record.value or b"") for record in records if record.key == str(key).encode()]
        assert list(dict.fromkeys(told)) == [number for number in numbers if number % 8 == key]
