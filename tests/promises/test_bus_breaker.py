"""With a breaker, an outage of what a handler needs costs no message, whatever else happens meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from convex_messaging_fastapi import (
    Batch,
    Breaker,
    BreakerClosed,
    BreakerOpened,
    BreakerStatus,
    MessageBus,
    Retry,
)
from convex_messaging_fastapi.verdicts import ready
from tests.promises.fleet import Bet, Fleet
from tests.support.hearing import Hears
from tests.support.waiting import eventually

QUICK: dict[str, Any] = {
    "breaker": Breaker(of=10, wait_seconds=0.3),
    "retry": Retry(attempts=3, delay_seconds=0.1),
    "concurrency": 8,
}
MINUTE = 60.0


class Database:
    """What the handlers of several buses need; `handled` is what they did with it, in this order."""

    def __init__(self) -> None:
        self.is_away = False
        self.away_after: int | None = None
        self.poison: int | None = None
        self.handled: list[tuple[str, int]] = []
        self.failed = 0

    def store(self, bet: Bet) -> None:
        if self.is_away or bet.bet_id == self.poison:
            self.failed += 1
            raise ValueError("poison") if bet.bet_id == self.poison else ConnectionError("away")
        self.handled.append((bet.player, bet.bet_id))
        if len(self.handled) == self.away_after:
            self.is_away = True

    def come_back_for_one(self) -> None:
        """And be away again for all that come after it."""
        self.away_after = len(self.handled) + 1
        self.is_away = False

    @property
    def ids(self) -> set[int]:
        return {bet_id for _, bet_id in self.handled}

    def assert_in_key_order(self) -> None:
        by_key: dict[str, list[int]] = defaultdict(list)
        for key, bet_id in dict.fromkeys(self.handled):
            by_key[key].append(bet_id)
        assert all(ids == sorted(ids) for ids in by_key.values())


def subscribed(bus: MessageBus, database: Database, **choices: Any) -> MessageBus:
    async def one(bet: Bet) -> None:
        await asyncio.sleep(0)
        database.store(bet)

    async def several(bets: list[Bet]) -> None:
        for bet in bets:
            database.store(bet)

    bus.subscriber("bet.placed", **(QUICK | choices))(several if choices.get("batch") else one)
    return bus


def is_open(bus: MessageBus) -> bool:
    return any(breaker.is_open for breaker in breakers(bus))


def openings(bus: MessageBus) -> int:
    return sum(breaker.openings for breaker in breakers(bus))


def breakers(bus: MessageBus) -> list[BreakerStatus]:
    subscriptions = [each for worker in bus.status().workers for each in worker.subscriptions]
    return [each.breaker for each in subscriptions if each.breaker is not None]


async def publish(bus: MessageBus, first: int, count: int, keys: int = 20) -> None:
    bets = [Bet(bet_id=n, player=f"p{n % keys}") for n in range(first, first + count)]
    await bus.publish_many("bet.placed", bets, key=lambda bet: bet.player)


async def opened(fleet: Fleet, database: Database, bus: MessageBus, keys: int = 20) -> None:
    """Some were handled before, and more wait now."""
    await publish(bus, 0, 40, keys)
    await eventually(lambda: len(database.ids) == 40, MINUTE, "the first ones are handled")
    database.is_away = True
    await publish(bus, 40, 160, keys)
    await eventually(lambda: is_open(bus), MINUTE, "the breaker is open")


async def away_again(database: Database, bus: MessageBus) -> None:
    """After one message, which closes the breaker."""
    before = openings(bus)
    database.come_back_for_one()
    await eventually(lambda: openings(bus) > before, MINUTE, "the breaker opens again")


async def all_handled(fleet: Fleet, database: Database, count: int) -> None:
    await eventually(lambda: len(database.ids) == count, MINUTE, "everything is handled")
    database.assert_in_key_order()
    assert await fleet.letters() == []


async def test_an_outage_is_waited_for_by_a_member_that_stays(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    await fleet.topic("dlq", partitions=1)
    database, hears = Database(), Hears()
    bus = fleet.bus(observers=[hears])
    async with subscribed(bus, database):
        await opened(fleet, database, bus)
        revision = bus.status().workers[0].revision
        failed = database.failed
        await eventually(lambda: database.failed >= failed + 3, MINUTE, "three were tried")
        verdict = ready(bus.status())
        assert (verdict.ok, verdict.status, verdict.reasons) == (True, "degraded", ("breaker_open",))
        database.is_away = False
        await all_handled(fleet, database, 200)
        assert bus.status().workers[0].revision == revision
        assert max(Counter(database.handled).values()) == 1
    assert await fleet.all_is_committed("bet.placed")
    [opening], [closing] = hears.of(BreakerOpened), hears.of(BreakerClosed)
    assert (opening.group, opening.exception_type) == (fleet.group, "ConnectionError")
    assert (closing.group, closing.handler) == (fleet.group, opening.handler)


async def test_what_failed_in_one_outage_has_all_its_attempts_in_the_next(fleet: Fleet) -> None:
    """Else the second one buries the first messages that fail in it, before three keys tell of it."""
    await fleet.topic("bet.placed")
    await fleet.topic("dlq", partitions=1)
    database, bus = Database(), fleet.bus()
    async with subscribed(bus, database, retry=Retry(attempts=2, delay_seconds=0.1)):
        await opened(fleet, database, bus, keys=10)
        for _ in range(3):
            await away_again(database, bus)
        database.is_away = False
        await eventually(
            lambda: _buried(bus) or len(database.ids) == 200, MINUTE, "all are handled or buried"
        )
        assert _buried(bus) == 0
        await all_handled(fleet, database, 200)
    assert await fleet.all_is_committed("bet.placed")


async def test_partitions_that_move_while_it_is_open_lose_nothing(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    await fleet.topic("dlq", partitions=1)
    database, one, two = Database(), fleet.bus(), fleet.bus()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(subscribed(one, database))
        await opened(fleet, database, one)
        await stack.enter_async_context(subscribed(two, database))
        await eventually(lambda: [held(one), held(two)] == [2, 2], MINUTE, "each holds two partitions")
        await eventually(lambda: is_open(two), MINUTE, "the other's breaker is open too")
        assert is_open(one)
        await publish(two, 200, 100)
        database.is_away = False
        await all_handled(fleet, database, 300)
    assert await fleet.all_is_committed("bet.placed")


async def test_a_stop_and_a_restart_while_it_is_open_lose_nothing(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    await fleet.topic("dlq", partitions=1)
    database = Database()
    first = fleet.bus()
    async with subscribed(first, database):
        await opened(fleet, database, first)
    handled = len(database.ids)
    second = fleet.bus()
    async with subscribed(second, database):
        await eventually(lambda: is_open(second), MINUTE, "the breaker is open again")
        assert len(database.ids) == handled
        database.is_away = False
        await all_handled(fleet, database, 200)
        assert max(Counter(database.handled).values()) == 1
    assert await fleet.all_is_committed("bet.placed")


async def test_one_poisoned_key_is_buried_and_opens_nothing(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    await fleet.topic("dlq", partitions=1)
    database, bus = Database(), fleet.bus()
    database.poison = 17
    async with subscribed(bus, database):
        for first in range(0, 400, 20):
            await publish(bus, first, 20)
        await eventually(lambda: len(database.ids) == 399, MINUTE, "the healthy ones are handled")
        assert database.failed == 3
        assert len(await fleet.letters()) == 1
        assert openings(bus) == 0


def held(bus: MessageBus) -> int:
    return sum(len(worker.partitions) for worker in bus.status().workers)


@dataclass(frozen=True)
class Scenario:
    """Messages at a rate while the database is away `times` times for so many seconds, and then not."""

    rate: float
    keys: int
    seconds: float
    choices: dict[str, Any]
    times: int = 1
    partitions: int = 4
    poison: int | None = None


SCENARIOS = {
    "many": Scenario(rate=200, keys=2000, seconds=120, choices={}),
    "few": Scenario(rate=1, keys=2000, seconds=120, choices={}),
    "by partition": Scenario(200, 2000, 120, {"ordering": "partition"}, partitions=3),
    "in batches": Scenario(200, 2000, 120, {"batch": Batch(max_records=100, max_wait_seconds=0.2)}),
    "with one poison": Scenario(200, 2000, 120, {}, poison=500),
    "ten flaps": Scenario(200, 2000, 5, {}, times=10),
}
USUAL: dict[str, Any] = {"breaker": Breaker(), "retry": None, "concurrency": None}


def a_tenth(scenario: Scenario) -> Scenario:
    """The same in a tenth of the time, with a tenth of the waits."""
    quick = {"breaker": Breaker(wait_seconds=3), "retry": Retry(delay_seconds=0.5)}
    few: dict[str, Any] = {"rate": 10.0} if scenario.rate == 1 else {}
    return replace(scenario, seconds=scenario.seconds / 10, choices=quick | scenario.choices, **few)


SIZES = [
    *(pytest.param(a_tenth(e), id=f"a tenth of {n}", marks=pytest.mark.faults) for n, e in SCENARIOS.items()),
    *(pytest.param(e, id=n, marks=pytest.mark.long) for n, e in SCENARIOS.items()),
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", SIZES)
async def test_on_kafka_an_outage_buries_nothing(kafka_fleet: Fleet, scenario: Scenario) -> None:
    fleet, database = kafka_fleet, Database()
    await fleet.topic("bet.placed", partitions=scenario.partitions)
    await fleet.topic("dlq", partitions=1)
    database.poison = scenario.poison
    bus = subscribed(fleet.bus(), database, **(USUAL | scenario.choices))
    async with bus:
        published = await _outages(bus, database, scenario)
        poison = {scenario.poison} & set(range(published))
        await eventually(lambda: database.ids | poison == set(range(published)), 420, "everything is handled")
        await eventually(lambda: not is_open(bus), MINUTE, "the breaker is closed")
        if poison:
            await eventually(lambda: _buried(bus) == 1, MINUTE, "the poison is buried")
        database.assert_in_key_order()
        buried = [Bet.model_validate_json(each.original_message or "") for each in await fleet.letters()]
        assert {bet.bet_id for bet in buried} == poison


async def test_on_kafka_without_a_breaker_the_same_is_buried(kafka_fleet: Fleet) -> None:
    """The control, as short as it can be."""
    fleet, database = kafka_fleet, Database()
    await fleet.topic("bet.placed")
    await fleet.topic("dlq", partitions=1)
    bus = subscribed(fleet.bus(), database, breaker=None)
    async with bus:
        database.is_away = True
        await publish(bus, 0, 200)
        await eventually(lambda: _buried(bus) == 200, MINUTE, "all of them are buried")


def _buried(bus: MessageBus) -> int:
    return sum(each.buried for worker in bus.status().workers for each in worker.subscriptions)


async def _outages(bus: MessageBus, database: Database, scenario: Scenario) -> int:
    """Publish all the time, a second of it before and between outages; how many were published."""
    loop, published = asyncio.get_running_loop(), 0
    clock: Callable[[], float] = loop.time
    began = clock()
    between = scenario.seconds if scenario.times > 1 else 1.0
    for _ in range(scenario.times):
        for is_away, seconds in ((False, between), (True, scenario.seconds)):
            database.is_away = is_away
            end = clock() + seconds
            while clock() < end:
                due = int((clock() - began) * scenario.rate) + 1
                if due > published:
                    await publish(bus, published, due - published, scenario.keys)
                    published = due
                await asyncio.sleep(0.05)  # simulates work
    database.is_away = False
    return published
