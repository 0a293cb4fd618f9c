"""`t.handled`: what a handler has finished, for those who would look at a mock's calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends

from convex_messaging_fastapi import (
    Batch,
    BatchFailed,
    ConfigurationError,
    Delivery,
    Discard,
    MessageBus,
    Reject,
    Retry,
    RetryAfter,
    Subscribers,
)
from tests.bus.support import Bet, memory_bus

SOON = Retry(attempts=3, delay_seconds=1)


@pytest.fixture
def bus() -> MessageBus:
    return memory_bus()


def bets(*ids: int) -> list[Bet]:
    return [Bet(bet_id=id) for id in ids]


async def play(bus: MessageBus, *ids: int, topic: str = "bet.placed") -> None:
    """Of one key, so that they stay in order."""
    for bet in bets(*ids):
        await bus.publish(topic, bet, key="same")


async def pool() -> AsyncIterator[str]:
    yield "pool"


async def alone(bet: Bet) -> None: ...


def in_a_thread(bet: Bet) -> None: ...


async def with_delivery(bet: Bet, delivery: Delivery) -> None: ...


async def with_dependency(bet: Bet, pool: Annotated[str, Depends(pool)]) -> None: ...


class Callee:
    async def __call__(self, bet: Bet) -> None: ...

    async def method(self, bet: Bet) -> None: ...


one = Callee()
KINDS = [alone, in_a_thread, with_delivery, with_dependency, one, one.method]


@pytest.mark.parametrize("handler", KINDS, ids=lambda handler: getattr(handler, "__name__", "an object"))
@pytest.mark.parametrize("choices", [{}, {"timeout": 5.0}], ids=["plain", "timeout"])
async def test_every_kind_of_handler_is_told_of_in_order(
    bus: MessageBus, handler: Any, choices: dict[str, Any]
) -> None:
    bus.subscriber("bet.placed", **choices)(handler)
    async with bus.test() as t:
        assert t.handled(handler) == []
        await play(bus, 1, 2, 3)
        await t.settle()
        assert t.handled(handler) == bets(1, 2, 3)


async def test_what_failed_first_is_there_once_and_where_it_was_finished(bus: MessageBus) -> None:
    failed = set[int]()

    @bus.subscriber("bet.placed", retry=SOON)
    async def stumble(bet: Bet) -> None:
        if bet.bet_id == 1 and not failed:
            failed.add(bet.bet_id)
            raise ConnectionError

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1), key="slow")
        await bus.publish("bet.placed", Bet(bet_id=2), key="fast")
        await t.settle()
        assert t.handled(stumble) == bets(2, 1)


SIGNALS = {"an error": ValueError(), "rejected": Reject(), "discarded": Discard(), "later": RetryAfter(1)}


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
async def test_what_was_never_finished_is_not_there(bus: MessageBus, signal: Exception) -> None:
    @bus.subscriber("bet.placed", retry=SOON)
    async def fail(bet: Bet) -> None:
        raise signal

    async with bus.test() as t:
        await play(bus, 1)
        await t.settle()
        assert t.handled(fail) == []


async def test_a_dependency_whose_exit_fails_has_finished_nothing(bus: MessageBus) -> None:
    async def broken() -> AsyncIterator[str]:
        yield "session"
        raise ConnectionError("no commit")

    @bus.subscriber("bet.placed", retry=SOON)
    async def handle(bet: Bet, session: Annotated[str, Depends(broken)]) -> None: ...

    async with bus.test() as t:
        await play(bus, 1)
        await t.settle()
        assert t.handled(handle) == []


async def test_a_handler_that_was_too_late_has_finished_nothing(bus: MessageBus) -> None:
    @bus.subscriber("bet.placed", retry=SOON, timeout=2)
    async def hang(bet: Bet) -> None:
        await asyncio.Event().wait()

    async with bus.test() as t:
        await play(bus, 1)
        await t.advance(60)
        assert t.handled(hang) == []
        assert len(t.dead_letters()) == 1


async def test_batches_are_lists_whatever_the_handler_does_with_its_own(bus: MessageBus) -> None:
    @bus.subscriber("bet.placed", batch=Batch(max_records=2))
    async def empty(batch: list[Bet]) -> None:
        batch.clear()

    async with bus.test() as t:
        await play(bus, 1, 2, 3)
        await t.settle()
        assert t.handled(empty) == [bets(1, 2), bets(3)]


async def test_of_a_batch_that_failed_only_what_stands_before_the_index_is_finished(bus: MessageBus) -> None:
    @bus.subscriber("bet.placed", batch=Batch(max_records=3), retry=Retry(attempts=2, delay_seconds=1))
    async def stop_at_three(batch: list[Bet]) -> None:
        for index, bet in enumerate(batch):
            if bet.bet_id == 3:
                raise BatchFailed(index)

    async with bus.test() as t:
        await play(bus, 1, 2, 3)
        await t.settle()
        assert t.handled(stop_at_three) == [bets(1, 2)]
        assert len(t.dead_letters()) == 1


async def test_a_function_is_asked_for_by_all_it_is_subscribed_to_and_an_id_for_one(bus: MessageBus) -> None:
    subscribers = Subscribers()

    @subscribers.receiver("payments", id="of payments")
    @bus.subscriber("bet.placed", id="of bets")
    async def handle(bet: Bet) -> None: ...

    bus.include(subscribers)
    async with bus.test() as t:
        late = await bus.subscribe("bet.settled", handle)
        for topic, id in [("bet.placed", 1), ("payments", 2), ("bet.settled", 3)]:
            await bus.publish(topic, Bet(bet_id=id))
            await t.settle()
        assert t.handled(handle) == bets(1, 2, 3)
        assert [t.handled(id) for id in ("of bets", "of payments", late)] == [bets(1), bets(2), bets(3)]


async def test_who_was_unsubscribed_is_still_told_of(bus: MessageBus) -> None:
    async with bus.test() as t:
        id = await bus.subscribe("bet.placed", alone)
        await play(bus, 1)
        await t.settle()
        await bus.unsubscribe(id)
        assert t.handled(alone) == t.handled(id) == bets(1)


async def test_a_bench_knows_nothing_of_the_one_before(bus: MessageBus) -> None:
    bus.subscriber("bet.placed")(alone)
    for id in (1, 2):
        async with bus.test() as t:
            await play(bus, id)
            await t.settle()
            assert t.handled(alone) == bets(id)


@pytest.mark.parametrize("asked", ["bet", alone])
async def test_an_empty_list_is_no_answer_to_a_wrong_name(bus: MessageBus, asked: Any) -> None:
    bus.subscriber("bet.placed", id="bets")(one)
    async with bus.test() as t:
        with pytest.raises(ConfigurationError, match=r"no handler of this bus is '(bet|alone)'.*'bets'"):
            t.handled(asked)


async def test_a_bus_that_has_left_its_bench_notes_nothing(bus: MessageBus) -> None:
    handled = asyncio.Event()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        handled.set()

    async with bus.test() as t:
        await play(bus, 1)
        await t.settle()
    handled.clear()
    async with bus:
        await play(bus, 2)
        await asyncio.wait_for(handled.wait(), 10)
    assert t.handled(handle) == bets(1)
