"""What a message costs where nothing is wrapped around its handler: two frames, and no allocation of ours."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from convex_messaging_fastapi import Middleware, Observer
from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.calling import CallContext, compile_call
from convex_messaging_fastapi.consuming.dispatch import Dispatch, HandlerConfig
from convex_messaging_fastapi.consuming.endings.discard import DiscardEnding
from convex_messaging_fastapi.consuming.holds import Holds
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.consuming.outcome import Tally
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.messages import codec_for
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.policies import Retry
from convex_messaging_fastapi.records import Lease, Record, TopicPartition
from tests.bus.support import Bet, memory_bus

Handler = Callable[[Any], Awaitable[None]]


class PassesOn(Middleware):
    """What costs something."""

    async def __call__(self, delivery: Any, message: Any, call_next: Any) -> None:
        await call_next(delivery, message)


class Hears(Observer):
    """What costs no frame."""

    def handling(self, group: str, handler: str, records: Sequence[Record], attempt: int) -> None:
        return None


@pytest.mark.parametrize("middleware", [[], [Middleware()]], ids=["none", "one that does nothing"])
@pytest.mark.parametrize("observers", [[], [Observer()], [Hears()]], ids=["none", "deaf", "one that hears"])
async def test_two_frames_are_between_the_task_and_the_handler(
    middleware: list[Middleware], observers: list[Observer]
) -> None:
    bus = memory_bus(middleware=middleware, observers=observers)
    seen = asyncio.get_running_loop().create_future()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        seen.set_result(list(_frames(sys._getframe())))

    async with bus:
        await bus.publish("bet.placed", Bet(bet_id=1))
        assert await asyncio.wait_for(seen, 10) == ["Dispatch.handle", "Subscription._run"]


def _frames(frame: Any) -> Iterator[str]:
    """What runs below this frame, up to the event loop."""
    while (frame := frame.f_back) is not None and "asyncio" not in frame.f_code.co_filename:
        yield frame.f_code.co_qualname


def test_no_more_is_allocated_than_where_nobody_could_wrap_it() -> None:
    decode = codec_for(dict).decode

    def bare(handler: Handler) -> Callable[[Sequence[Job]], Coroutine[Any, Any, Any]]:
        async def handle(jobs: Sequence[Job]) -> None:
            await handler(decode(jobs[0].record.value))

        return handle

    two_coroutines = _allocated(bare)
    assert _allocated(lambda handler: _dispatch(handler).handle) == two_coroutines
    assert _allocated(lambda handler: _dispatch(handler, Middleware()).handle) == two_coroutines
    assert _allocated(lambda handler: _dispatch(handler, observer=Observer()).handle) == two_coroutines
    assert _allocated(lambda handler: _dispatch(handler, PassesOn()).handle) > two_coroutines


def _allocated(around: Callable[[Handler], Callable[[Sequence[Job]], Coroutine[Any, Any, Any]]]) -> int:
    """Blocks of memory that a message's turn has taken when its handler begins, the message aside."""
    counted: list[int] = []

    async def handler(message: dict[str, Any]) -> None:
        counted.append(sum(map(_is_of_the_turn, tracemalloc.take_snapshot().traces)))

    handle, jobs = around(handler), [_job()]
    for _ in range(3):
        gc.collect()
        tracemalloc.start(10)
        try:
            with pytest.raises(StopIteration):
                handle(jobs).send(None)
        finally:
            tracemalloc.stop()
    return min(counted)


def _is_of_the_turn(block: tracemalloc.Trace) -> bool:
    files = [frame.filename for frame in block.traceback]
    return not any("/messages/" in file or file == tracemalloc.__file__ for file in files)


def _job() -> Job:
    where, lease = TopicPartition("bets", 0), Lease(0)
    return Job(
        Record(*where, 0, 0, b"ada", b'{"bet":1}'),
        OwnedPartition(where, lease, Ledger(0, 10), Holds(lambda: 0.0)),
        1,
    )


def _dispatch(handler: Handler, *middleware: Middleware, observer: Observer | None = None) -> Dispatch:
    config = HandlerConfig(
        plan=compile_call(handler),
        group="g",
        handler="h",
        retry=Retry(),
        timeout=None,
        is_batch=False,
        middleware=middleware,
        observers=Observers([observer] if observer is not None else []),
    )
    call_context, tally = CallContext(app=None, state={}, threads=HandlerThreads(1)), Tally()
    return Dispatch(config, call_context, DiscardEnding(tally), tally, ManualClock(), lambda: 0.0)
