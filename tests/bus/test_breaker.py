"""An outage of what handlers need buries nothing where there is a breaker, on a clock turned by hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from convex_messaging_fastapi import (
    Batch,
    Breaker,
    BreakerClosed,
    BreakerOpened,
    Buried,
    DeadLetterMessage,
    MessageBus,
)
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.verdicts import ready
from tests.bus.support import Bet, memory_bus
from tests.support.hearing import Hears

HOUR = 3600.0
STEP = 0.5
POISON = 17
"""The message that fails whatever else is well."""

Handled = list[tuple[str, int]]


@dataclass(frozen=True)
class Database:
    """What handlers need; away from each of these seconds to the other."""

    now: Callable[[], float]
    away: tuple[tuple[float, float], ...]

    def ask(self) -> None:
        if any(begin <= self.now() < end for begin, end in self.away):
            raise ConnectionError("the database is away")


@dataclass(frozen=True)
class Scenario:
    """Messages at a rate while the database is away from second 10 on; `tenth` is its size in CI."""

    rate: float
    keys: int
    away: tuple[tuple[float, float], ...] = ((10, 130),)
    choices: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    poison: bool = False

    @property
    def tenth(self) -> Scenario:
        return replace(self, rate=self.rate / 10, keys=self.keys // 10)


BUSY = Scenario(rate=200, keys=2000)
THREE_PARTITIONS = {"create_topics": True, "topic_partitions": 3}

SCENARIOS = {
    "many": BUSY,
    "with one poison": Scenario(rate=200, keys=2000, poison=True),
    "in batches": Scenario(rate=200, keys=2000, choices={"batch": Batch(max_records=50)}),
    "ten flaps": Scenario(rate=200, keys=2000, away=tuple((10 + 10 * n, 15 + 10 * n) for n in range(10))),
}
FEW = {
    "few": Scenario(rate=1, keys=2000),
    "by partition": Scenario(rate=5, keys=2000, choices={"ordering": "partition"}, settings=THREE_PARTITIONS),
    "by partition with one poison": Scenario(
        rate=5, keys=2000, choices={"ordering": "partition"}, settings=THREE_PARTITIONS, poison=True
    ),
    "without order": Scenario(rate=5, keys=2000, choices={"ordering": "none"}),
}
SIZES = [
    *(pytest.param(each, id=name) for name, each in FEW.items()),
    *(pytest.param(each.tenth, id=f"a tenth of {name}") for name, each in SCENARIOS.items() if each != BUSY),
    *(pytest.param(each, id=name, marks=pytest.mark.long) for name, each in SCENARIOS.items()),
]


@dataclass
class Act:
    """One scenario as it ran."""

    scenario: Scenario
    bus: MessageBus
    handled: Handled = field(default_factory=list)
    published: int = 0
    letters: list[int] = field(default_factory=list)


def subscribe(act: Act, database: Callable[[], Database], breaker: Breaker | None) -> None:
    def handle(bet: Bet) -> None:
        if act.scenario.poison and bet.bet_id == POISON:
            raise ValueError("poison")
        database().ask()
        act.handled.append((bet.player, bet.bet_id))

    async def one(bet: Bet) -> None:
        handle(bet)

    async def several(bets: list[Bet]) -> None:
        for bet in bets:
            handle(bet)

    choices = {"breaker": breaker, "id": "handler", **act.scenario.choices}
    act.bus.subscriber("bet.placed", **choices)(several if "batch" in choices else one)


async def played(scenario: Scenario, breaker: Breaker | None = Breaker()) -> Act:  # noqa: B008 - frozen
    """Publish until the outage is over, and then wait for everything to end."""
    act = Act(scenario, memory_bus(**scenario.settings))
    bench: list[TestBench] = []
    subscribe(act, lambda: Database(bench[0].clock.now, scenario.away), breaker)
    async with act.bus.test() as t:
        bench.append(t)
        end = scenario.away[-1][1] + 10
        while t.clock.now() < end:
            await publish_due(act, t.clock.now())
            await t.advance(STEP)
            assert ready(act.bus.status()).ok, "an outage of a handler's is none of Kafka's"
        await t.settle(HOUR)
        act.letters = [bet_of(letter).bet_id for letter in t.dead_letters()]
    return act


async def publish_due(act: Act, now: float) -> None:
    due = int(now * act.scenario.rate) + 1
    bets = [Bet(bet_id=n, player=f"p{n % act.scenario.keys}") for n in range(act.published, due)]
    if bets:
        await act.bus.publish_many("bet.placed", bets, key=lambda bet: bet.player)
    act.published = max(act.published, due)


@pytest.mark.parametrize("scenario", SIZES)
async def test_an_outage_buries_nothing_and_everything_is_handled_in_order(scenario: Scenario) -> None:
    act = await played(scenario)

    poison = [POISON] if scenario.poison else []
    assert act.letters == poison
    times = Counter(bet_id for _, bet_id in act.handled)
    assert set(times) == set(range(act.published)) - set(poison)
    if "batch" not in scenario.choices:  # whose members before the failing one are repeated with it
        assert set(times.values()) == {1}
    if scenario.choices.get("ordering") != "none":
        assert_in_key_order(act.handled)


def bet_of(letter: DeadLetterMessage) -> Bet:
    return Bet.model_validate_json(letter.original_message or "")


def assert_in_key_order(handled: Handled) -> None:
    """The first time of each; a repeat of a batch begins with what was handled before."""
    by_key: dict[str, list[int]] = defaultdict(list)
    for key, bet_id in dict.fromkeys(handled):
        by_key[key].append(bet_id)
    assert all(ids == sorted(ids) for ids in by_key.values())


async def test_without_a_breaker_it_buries_what_nobody_is_to_blame_for() -> None:
    """The control."""
    act = await played(FEW["few"], None)

    assert len(act.letters) > 100


@pytest.mark.long
async def test_without_a_breaker_it_buries_by_the_thousand() -> None:
    half_a_minute = replace(BUSY, away=((10, 40),))
    act = await played(half_a_minute, None)

    assert len(act.letters) > 1000


@pytest.mark.parametrize("healthy_keys", [1, 2, 50])
async def test_one_poisoned_key_among_healthy_ones_never_opens_it(healthy_keys: int) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", breaker=Breaker())
    async def handle(bet: Bet) -> None:
        if bet.player == "poisoned":
            raise ValueError("poison")

    async with bus.test() as t:
        poisoned = [Bet(bet_id=n, player="poisoned") for n in range(20)]
        await bus.publish_many("bet.placed", poisoned, key=lambda bet: bet.player)
        for n in range(100):
            await bus.publish("bet.placed", Bet(bet_id=100 + n), key=str(n % healthy_keys))
            await t.advance(1)
        await t.settle(HOUR)
        assert openings(bus) == 0
        assert len(t.dead_letters()) == 20


async def test_observers_hear_when_it_opens_and_when_it_closes() -> None:
    hears, away = Hears(), True
    bus = memory_bus(observers=[hears])

    @bus.subscriber("bet.placed", id="bets", group="g", breaker=Breaker(of=3, wait_seconds=30))
    async def handle(bet: Bet) -> None:
        if away:
            raise ConnectionError("the database is away")

    async with bus.test() as t:
        await bus.publish_many(
            "bet.placed", [Bet(bet_id=n) for n in range(9)], key=lambda bet: str(bet.bet_id)
        )
        await t.advance(31)
        away = False
        await t.settle()
    [opening], [closing] = hears.of(BreakerOpened), hears.of(BreakerClosed)
    assert opening == BreakerOpened("g", "bets", "ConnectionError", 30)
    assert (closing.group, closing.handler) == ("g", "bets")
    assert closing.seconds == pytest.approx(90, abs=1)
    assert not hears.of(Buried)


def openings(bus: MessageBus) -> int:
    breaker = bus.status().workers[0].subscriptions[0].breaker
    assert breaker is not None
    return breaker.openings
