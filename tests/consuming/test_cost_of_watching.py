"""What an observer and a middleware cost a message, beside what Python itself takes for calls like theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from statistics import median
from typing import Any

import pytest

from convex_messaging_fastapi import CallNext, Middleware, Observer, Record
from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.calling import CallContext, compile_call
from convex_messaging_fastapi.consuming.dispatch import Dispatch, HandlerConfig
from convex_messaging_fastapi.consuming.endings.discard import DiscardEnding
from convex_messaging_fastapi.consuming.holds import Holds
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.consuming.outcome import Tally
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.policies import Retry
from convex_messaging_fastapi.records import Lease, TopicPartition, delivery_of

pytestmark = pytest.mark.cpu

ROUNDS = 9
MESSAGES = 10_000
WHERE = TopicPartition("bets", 0)


class Hears(Observer):
    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> None:
        return None


class PassesOn(Middleware):
    async def __call__(self, delivery: Any, message: Any, call_next: CallNext) -> None:
        await call_next(delivery, message)


async def handler(message: bytes) -> None: ...


def dispatch(*, middleware: Sequence[Middleware] = (), observers: Sequence[Observer] = ()) -> Dispatch:
    config = HandlerConfig(
        plan=compile_call(handler),
        group="g",
        handler="h",
        retry=Retry(),
        timeout=None,
        is_batch=False,
        middleware=middleware,
        observers=Observers(observers),
    )
    context, tally = CallContext(app=None, state={}, threads=HandlerThreads(1)), Tally()
    return Dispatch(config, context, DiscardEnding(tally), tally, ManualClock(), lambda: 0.0)


def jobs() -> list[Job]:
    owned = OwnedPartition(WHERE, Lease(0), Ledger(0, 10), Holds(lambda: 0.0))
    return [Job(Record(*WHERE, 0, 0, b"ada", b"one bet"), owned, 1)]


def seconds(loop: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """CPU time of this thread, so that what runs beside it counts for little."""
    began = time.thread_time()
    with pytest.raises(StopIteration):
        loop().send(None)
    return time.thread_time() - began


def handling(by: Dispatch) -> Callable[[], Coroutine[Any, Any, None]]:
    async def loop() -> None:
        handle, some = by.handle, jobs()
        for _ in range(MESSAGES):
            await handle(some)

    return loop


def ratio(
    base: Callable[[], Coroutine[Any, Any, None]],
    ours: Callable[[], Coroutine[Any, Any, None]],
    python: Callable[[], Coroutine[Any, Any, None]],
) -> float:
    """What `ours` takes more than `base`, beside what `python` does: the three take turns, nine times."""
    found = []
    for _ in range(ROUNDS):
        least, own, plain = seconds(base), seconds(ours), seconds(python)
        found.append((own - least) / (plain - least))
    return median(found)


def test_an_observer_that_does_nothing_costs_at_most_three_calls() -> None:
    listen = Hears().handling

    async def two_calls() -> None:
        handle, some = off.handle, jobs()
        for _ in range(MESSAGES):
            await handle(some)
            job = some[0]
            listen("g", "h", (job.record,), job.attempts + 1)
            listen("g", "h", (job.record,), job.attempts + 1)

    off, on = dispatch(), dispatch(observers=[Hears()])
    assert ratio(handling(off), handling(on), two_calls) <= 1.5


def test_a_middleware_that_does_nothing_costs_at_most_two_coroutines_beside_the_delivery_it_is_given() -> (
    None
):
    async def empty() -> None: ...

    async def with_delivery() -> None:
        handle, some = off.handle, jobs()
        for _ in range(MESSAGES):
            job = some[0]
            delivery_of(job.record, job.attempts + 1, job.owned.lease, "group/handler")
            await handle(some)

    async def with_coroutine() -> None:
        handle, some = off.handle, jobs()
        for _ in range(MESSAGES):
            job = some[0]
            delivery_of(job.record, job.attempts + 1, job.owned.lease, "group/handler")
            await empty()
            await handle(some)

    off, on = dispatch(), dispatch(middleware=[PassesOn()])
    assert ratio(with_delivery, handling(on), with_coroutine) <= 2
