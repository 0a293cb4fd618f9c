"""What is wrapped around handling: everything that a middleware may do has its documented outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import Depends

from convex_messaging_fastapi import (
    Batch,
    BatchFailed,
    ConfigurationError,
    Discard,
    MessageBus,
    Middleware,
    Reject,
    Retry,
    TestBench,
)
from convex_messaging_fastapi.middleware import CallNext, around_handler
from convex_messaging_fastapi.records import TopicPartition
from tests.bus.support import Bet, memory_bus

TWICE = Retry(attempts=2, delay_seconds=5, jitter=0)
TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


class Handling:
    """A bus with one handler, of single messages or of batches, and the story of what was called."""

    def __init__(self, *, batch: bool, wrapped_in: list[Middleware], **choices: Any) -> None:
        self.bus = memory_bus(middleware=wrapped_in)
        self.story: list[str] = []
        self.fails: BaseException | None = None
        chosen = {"retry": TWICE, "batch": Batch(max_records=2, max_wait_seconds=1) if batch else None}
        handler = self.handle_two if batch else self.handle_one
        self.bus.subscriber("bet.placed", id="bets", **chosen | choices)(handler)
        self.size = 2 if batch else 1

    async def handle_one(self, bet: Bet) -> None:
        self.handled(1)

    async def handle_two(self, bets: list[Bet]) -> None:
        self.handled(len(bets))

    def handled(self, number: int) -> None:
        self.story.append(f"handled {number} of {TENANT.get()}")
        if self.fails is not None:
            raise self.fails

    async def publish(self) -> None:
        """As many as one attempt takes."""
        await self.bus.publish_many("bet.placed", [Bet(bet_id=n) for n in range(self.size)], key="ada")

    async def run(self, *, times: int = 1) -> None:
        async with self.bus.test() as bench:
            for _ in range(times):
                await self.publish()
                await bench.settle()

    @property
    def counts(self) -> tuple[int, int, int, int]:
        (subscription,) = self.bus.status().workers[0].subscriptions
        return (
            subscription.handled,
            subscription.failed_attempts,
            subscription.buried,
            subscription.discarded,
        )


BOTH = pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
Wrap = Callable[[Any, Any, CallNext], Any]


class Doing(Middleware):
    """What a test says, around each attempt."""

    def __init__(self, wrap: Wrap) -> None:
        self._wrap = wrap

    async def __call__(self, delivery: Any, message: Any, call_next: CallNext) -> None:
        await self._wrap(delivery, message, call_next)


async def passes_on(delivery: Any, message: Any, call_next: CallNext) -> None:
    await call_next(delivery, message)


async def raises_before(delivery: Any, message: Any, call_next: CallNext) -> None:
    raise ConnectionError("no database")


async def raises_after(delivery: Any, message: Any, call_next: CallNext) -> None:
    await call_next(delivery, message)
    raise ConnectionError("no database")


async def rejects(delivery: Any, message: Any, call_next: CallNext) -> None:
    raise Reject("not signed")


async def discards(delivery: Any, message: Any, call_next: CallNext) -> None:
    raise Discard("seen before")


async def swallows(delivery: Any, message: Any, call_next: CallNext) -> None:
    try:
        await call_next(delivery, message)
    except ValueError:
        return


async def translates(delivery: Any, message: Any, call_next: CallNext) -> None:
    try:
        await call_next(delivery, message)
    except ValueError as error:
        raise Reject("never again") from error


async def calls_twice(delivery: Any, message: Any, call_next: CallNext) -> None:
    await call_next(delivery, message)
    await call_next(delivery, message)


async def tries_again_at_once(delivery: Any, message: Any, call_next: CallNext) -> None:
    try:
        await call_next(delivery, message)
    except ValueError:
        await call_next(delivery, message)


async def never_calls(delivery: Any, message: Any, call_next: CallNext) -> None:
    return


async def cancels_itself(delivery: Any, message: Any, call_next: CallNext) -> None:
    raise asyncio.CancelledError


FAILS = ValueError("no such player")
# What wraps it, what the handler raises, how often that is called, and how many are then
# handled, failed attempts, buried and discarded.
OUTCOMES: list[tuple[Wrap, Exception | None, int, tuple[int, int, int, int]]] = [
    (passes_on, None, 1, (1, 0, 0, 0)),
    (passes_on, FAILS, 2, (0, 2, 1, 0)),
    (raises_before, None, 0, (0, 2, 1, 0)),
    (raises_after, None, 2, (0, 2, 1, 0)),
    (rejects, None, 0, (0, 1, 1, 0)),
    (discards, None, 0, (0, 1, 0, 1)),
    (swallows, FAILS, 1, (1, 0, 0, 0)),
    (translates, FAILS, 1, (0, 1, 1, 0)),
    (calls_twice, None, 2, (1, 0, 0, 0)),
    (calls_twice, FAILS, 2, (0, 2, 1, 0)),
    (tries_again_at_once, FAILS, 4, (0, 2, 1, 0)),
    (never_calls, None, 0, (1, 0, 0, 0)),
    (cancels_itself, None, 0, (0, 2, 1, 0)),
]


@pytest.mark.parametrize(("wrap", "fails", "calls", "counts"), OUTCOMES)
async def test_whatever_it_does_to_a_message_has_its_outcome(
    wrap: Wrap, fails: Exception | None, calls: int, counts: tuple[int, int, int, int]
) -> None:
    handling = Handling(batch=False, wrapped_in=[Doing(wrap)])
    handling.fails = fails
    async with handling.bus.test() as t:
        await handling.publish()
        await t.settle()
        assert len(handling.story) == calls
        assert handling.counts == counts
    assert committed(t) == 1, "what is not handled, buried or discarded would not be committed"


# Of a batch the members run singly once its attempts are spent: in all two attempts together, then one each.
BATCHES: list[tuple[Wrap, Exception | None, list[int], tuple[int, int, int, int]]] = [
    (passes_on, None, [2], (2, 0, 0, 0)),
    (passes_on, FAILS, [2, 2, 1, 1], (0, 4, 2, 0)),
    (raises_before, None, [], (0, 4, 2, 0)),
    (raises_after, None, [2, 2, 1, 1], (0, 4, 2, 0)),
    (discards, None, [], (0, 1, 0, 2)),
    (swallows, FAILS, [2], (2, 0, 0, 0)),
    (calls_twice, None, [2, 2], (2, 0, 0, 0)),
    (never_calls, None, [], (2, 0, 0, 0)),
    (cancels_itself, None, [], (0, 4, 2, 0)),
    (passes_on, BatchFailed(1), [2, 1], (2, 1, 0, 0)),
]


@pytest.mark.parametrize(("wrap", "fails", "sizes", "counts"), BATCHES)
async def test_whatever_it_does_to_a_batch_has_its_outcome(
    wrap: Wrap, fails: Exception | None, sizes: list[int], counts: tuple[int, int, int, int]
) -> None:
    handling = Handling(batch=True, wrapped_in=[Doing(wrap)])
    handling.fails = fails
    async with handling.bus.test() as t:
        await handling.publish()
        await t.settle()
        assert [int(told.split()[1]) for told in handling.story] == sizes
        assert handling.counts == counts
    assert committed(t) == 2


def committed(t: TestBench) -> int:
    """What the group has committed of the partition that holds the bets; 0 before it has."""
    (where,) = {TopicPartition(record.topic, record.partition) for record in t.records("bet.placed")}
    return t.broker.committed("bets")[where].offset


@BOTH
async def test_the_first_is_the_outermost(batch: bool) -> None:
    def named(name: str) -> Middleware:
        async def wrap(delivery: Any, message: Any, call_next: CallNext) -> None:
            handling.story.append(f"{name} begins")
            await call_next(delivery, message)
            handling.story.append(f"{name} ends")

        return Doing(wrap)

    handling = Handling(batch=batch, wrapped_in=[named("first"), Middleware(), named("second")])
    await handling.run()
    inner = f"handled {handling.size} of nobody"
    assert handling.story == ["first begins", "second begins", inner, "second ends", "first ends"]


@BOTH
async def test_it_is_told_what_is_handled_and_may_hand_on_another_message(batch: bool) -> None:
    told: list[tuple[Any, Any]] = []

    async def wrap(delivery: Any, message: Any, call_next: CallNext) -> None:
        told.append((delivery, message))
        await call_next(delivery, message * 2 if batch else Bet(bet_id=7))

    handling = Handling(batch=batch, wrapped_in=[Doing(wrap)])
    got: list[Any] = []
    handling.handled = got.append  # type: ignore[method-assign, assignment]
    await handling.run()
    ((delivery, message),) = told
    if batch:
        assert ([each.offset for each in delivery], message) == ([0, 1], [Bet(bet_id=0), Bet(bet_id=1)])
        assert got == [4]
    else:
        assert (delivery.offset, delivery.attempt, message) == (0, 1, Bet(bet_id=0))


async def sets_the_tenant(delivery: Any, message: Any, call_next: CallNext) -> None:
    first = delivery[0] if isinstance(delivery, list) else delivery
    TENANT.set(f"tenant {first.offset}")
    await call_next(delivery, message)


@BOTH
async def test_context_variables_are_seen_by_the_handler_and_by_no_other_message(batch: bool) -> None:
    async def only_the_first(delivery: Any, message: Any, call_next: CallNext) -> None:
        if len(handling.story) == 0:
            await sets_the_tenant(delivery, message, call_next)
        else:
            await call_next(delivery, message)

    handling = Handling(batch=batch, wrapped_in=[Doing(only_the_first)], concurrency=1)
    await handling.run(times=3)
    assert [told.split(" of ")[1] for told in handling.story] == ["tenant 0", "nobody", "nobody"]
    assert TENANT.get() == "nobody"


async def test_context_variables_are_seen_by_dependencies_and_in_threads() -> None:
    bus, seen = memory_bus(middleware=[Doing(sets_the_tenant)]), list[str]()

    async def dependency() -> AsyncIterator[str]:
        seen.append(TENANT.get())
        yield TENANT.get()
        seen.append(TENANT.get())

    def dependency_in_a_thread() -> str:
        return TENANT.get()

    @bus.subscriber("bet.placed")
    def handle(
        bet: Bet,
        one: Annotated[str, Depends(dependency)],
        two: Annotated[str, Depends(dependency_in_a_thread)],
    ) -> None:
        seen.extend([one, two, TENANT.get()])

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()
    assert seen == ["tenant 0"] * 5


@BOTH
async def test_it_is_within_the_timeout_of_the_attempt(batch: bool) -> None:
    ended: list[str] = []

    async def hangs(delivery: Any, message: Any, call_next: CallNext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    handling = Handling(batch=batch, wrapped_in=[Doing(hangs)], timeout=30, retry=Retry(attempts=1))
    async with handling.bus.test() as t:
        await handling.publish()
        await t.advance(31 * 3)
        letters = t.dead_letters()
        assert [letter.error_message for letter in letters] == [
            "the handler did not return within 30 s"
        ] * handling.size
    assert len(ended) == (3 if batch else 1)
    assert handling.story == []


@BOTH
async def test_one_that_is_cancelled_by_the_end_of_a_drain_has_settled_nothing(batch: bool) -> None:
    async def waits(delivery: Any, message: Any, call_next: CallNext) -> None:
        await call_next(delivery, message)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            handling.story.append("cancelled")
            raise

    handling = Handling(batch=batch, wrapped_in=[Doing(waits)])
    async with handling.bus.test() as t:
        await handling.publish()
        await t.advance(2)
    assert handling.story == [f"handled {handling.size} of nobody", "cancelled"]
    assert committed(t) == 0
    assert t.dead_letters() == []


@BOTH
async def test_one_that_swallows_its_cancellation_counts_as_handled(batch: bool) -> None:
    async def waits(delivery: Any, message: Any, call_next: CallNext) -> None:
        await call_next(delivery, message)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    handling = Handling(batch=batch, wrapped_in=[Doing(waits)])
    async with handling.bus.test() as t:
        await handling.publish()
        await t.advance(2)
    assert committed(t) == handling.size


async def test_a_handler_that_joins_later_is_wrapped_too() -> None:
    handling = Handling(batch=False, wrapped_in=[Doing(sets_the_tenant)])
    seen: list[str] = []

    async def late(bet: Bet) -> None:
        seen.append(TENANT.get())

    async with handling.bus.test() as t:
        await handling.bus.subscribe("bet.settled", late)
        await handling.bus.publish("bet.settled", Bet(bet_id=1))
        await t.settle()
    assert seen == ["tenant 0"]


class Wrong:
    async def __call__(self, delivery: Any, message: Any, call_next: CallNext) -> None: ...


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([Middleware(), Wrong()], "Wrong"),
        ([passes_on], "function"),
        ([Middleware], "the class Middleware"),
        (Wrong(), "Wrong"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_middleware_is_refused_at_once(given: Any, named: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"middleware=\[\.\.\.\], .*derive from Middleware, not {named}"
    ):
        MessageBus(middleware=given)


async def bare(delivery: Any, message: Any) -> None: ...


@pytest.mark.parametrize("middleware", [[], [Middleware()], (each for each in [Middleware()])])
def test_without_any_that_handles_it_is_the_bare_handler(middleware: Any) -> None:
    assert around_handler(middleware, bare) is bare
