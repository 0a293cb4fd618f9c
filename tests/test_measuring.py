"""The speed of a handler in the last minute: counts are exact, percentiles near, and no memory grows."""

from __future__ import annotations

import random
import tracemalloc
from statistics import quantiles

import pytest

from convex_messaging_fastapi import Batch, BatchFailed, Measuring, Observer, Reject, Retry, Speed
from convex_messaging_fastapi.events import AttemptOutcome
from convex_messaging_fastapi.measuring import BOUNDARIES, SLOT_SECONDS, SLOTS
from convex_messaging_fastapi.records import Record
from tests.bus.support import Bet, memory_bus

ONE = (Record("bets", 0, 0, 0, None, b""),)
NOTHING_YET = Speed(0.0, None, None)


class Times:
    """A measuring observer, and a clock that only a test turns. It begins within a slot."""

    def __init__(self) -> None:
        self.now = 1003.0
        self.measuring = Measuring(lambda: self.now)

    def attempt(
        self,
        took: float = 0.0,
        *,
        messages: int = 1,
        outcome: AttemptOutcome = "handled",
        handler: str = "pay",
    ) -> None:
        ended = self.measuring.handling("bets", handler, ONE * messages, 1)
        self.now += took
        ended(outcome, None)

    def speed(self, handler: str = "pay") -> Speed:
        return self.measuring.speed("bets", handler)


def test_a_handler_that_has_had_nothing_has_no_percentiles() -> None:
    assert Times().speed() == NOTHING_YET


@pytest.mark.parametrize(
    ("seconds", "rate"),
    [(1, 100 * 1 / SLOT_SECONDS), (30, 100.0), (60, 100.0), (600, 100.0)],
    ids=["as if over five seconds", "since it began", "a minute", "ten minutes"],
)
def test_the_rate_is_that_of_the_last_minute_or_since_it_began(seconds: int, rate: float) -> None:
    times = Times()
    for _ in range(seconds * 100):
        times.attempt()
        times.now += 0.01
    assert times.speed().rate == pytest.approx(rate, rel=0.01)


def test_after_a_minute_without_a_message_nothing_is_left() -> None:
    times = Times()
    times.attempt(0.2)
    times.now += SLOT_SECONDS * SLOTS
    assert times.speed() == NOTHING_YET


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "rejected", "discarded", "cancelled"])
def test_an_attempt_that_handles_nothing_has_taken_its_time_all_the_same(outcome: AttemptOutcome) -> None:
    times = Times()
    times.attempt(0.2, outcome=outcome)
    speed = times.speed()
    assert speed.rate == 0
    assert speed.p50_seconds == pytest.approx(0.2, rel=0.5)


def test_a_batch_is_one_attempt_at_many_messages() -> None:
    times = Times()
    times.attempt(SLOT_SECONDS, messages=50)
    assert times.speed().rate == pytest.approx(10)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [0.001, 0.02, 0.3, 4.0, 30.0])
def test_percentiles_lie_between_the_boundaries_that_the_exact_ones_lie_between(
    scale: float, seed: int
) -> None:
    dice, times = random.Random(seed), Times()
    took = [dice.expovariate(1 / scale) for _ in range(1000)]
    for seconds in took:
        begun = times.now
        times.attempt(seconds)
        times.now = begun  # side by side
    exact, told = quantiles(took, n=100, method="inclusive"), times.speed()
    for known, estimated in ((exact[49], told.p50_seconds), (exact[94], told.p95_seconds)):
        assert estimated is not None
        below = max((each for each in BOUNDARIES if each < known), default=0.0)
        above = min(each for each in (*BOUNDARIES, max(took)) if each >= known)
        assert below * 0.99 <= estimated <= above * 1.01


def test_no_percentile_is_longer_than_the_longest_attempt() -> None:
    times = Times()
    for _ in range(10):
        times.attempt(0.011)
    speed = times.speed()
    assert speed.p95_seconds is not None
    assert speed.p95_seconds <= 0.0111


def test_handlers_are_told_apart_and_those_that_are_gone_are_forgotten() -> None:
    times = Times()
    times.attempt(0.02, handler="slow")
    times.attempt(handler="quick")
    assert times.speed("slow") != times.speed("quick")
    tracemalloc.start()
    try:
        for number in range(100):  # those that come and go
            times.attempt(handler=f"h{number}")
            times.now += SLOT_SECONDS
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1000):
            times.attempt(handler=f"another {number}")
            times.now += SLOT_SECONDS
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 16 * 1024


def test_any_number_of_messages_takes_the_same_room() -> None:
    times = Times()
    times.attempt()
    for _ in range(2000):  # every slot was used once
        times.attempt(0.1)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            times.attempt(0.1)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 16 * 1024


async def test_a_status_tells_the_speed_where_an_observer_measures() -> None:
    bus = memory_bus(observers=[Measuring()])

    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None: ...

    @bus.subscriber("bet.placed", id="none", retry=Retry(attempts=1))
    async def none(bet: Bet) -> None:
        raise Reject("no")

    @bus.subscriber("bet.placed", id="half", batch=Batch(10, 0.1))
    async def half(bets: list[Bet]) -> None:
        if len(bets) > 1:
            raise BatchFailed(len(bets) // 2)

    async with bus.test() as t:
        await bus.publish_many("bet.placed", [Bet(bet_id=id) for id in range(10)], key="ada")
        await t.settle()
        speeds = {each.id: each.speed for w in bus.status().workers for each in w.subscriptions}
    assert speeds["pay"] is not None
    assert speeds["pay"].rate == pytest.approx(10 / SLOT_SECONDS, rel=0.01)
    assert speeds["pay"].p95_seconds is not None
    assert speeds["none"] is not None
    assert speeds["none"].rate == 0
    assert speeds["none"].p50_seconds is not None


@pytest.mark.parametrize("observers", [[], [Observer()]], ids=["none", "one that does not measure"])
async def test_without_one_it_tells_none(observers: list[Observer]) -> None:
    bus = memory_bus(observers=observers)

    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None: ...

    async with bus.test():
        assert bus.status().workers[0].subscriptions[0].speed is None
