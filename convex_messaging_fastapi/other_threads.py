"""For threads other than the event loop's: publish in bounded time, and read what runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, wait
from contextlib import suppress
from threading import Event
from typing import Any, TypeVar

from convex_messaging_fastapi.clock import Clock, SystemClock
from convex_messaging_fastapi.errors import BusStateError, PublishFailed, PublishUnknown

T = TypeVar("T")

TRIES = 100
"""To go through what changes: each takes microseconds, so that two in a row are rare."""

ANSWER_SECONDS = 0.5
"""How late a loop may be with the outcome of a call past its time, and then with a sign of life."""

LONGEST_WAIT_SECONDS = 3600.0
"""Between two looks at the loop: a thread cannot wait for an infinite time."""


def publish_from_thread(
    call: Callable[[float], Coroutine[Any, Any, T]],
    loop: asyncio.AbstractEventLoop,
    seconds: float,
    clock: Clock,
) -> T:
    """Run `call(seconds left)` on `loop`, and wait for it in this thread.

    Raises what it raises, or `PublishUnknown` about a second after `seconds` if the loop does not
    answer. While the loop answers, the call's own deadline counts, which may be on a test's clock.
    """
    now = SystemClock.now
    began, asked = now(), clock.now()

    async def in_time() -> T:
        left = seconds - (clock.now() - asked)
        if left <= 0:
            raise PublishFailed(
                f"A message was not sent: the bus's event loop took it after {now() - began:.1f} s, which is "
                f"more than its {seconds:g} s. It is certainly not written; publish it again."
            )
        return await call(left)

    future = asyncio.run_coroutine_threadsafe(_refused_when_closed(in_time(), loop), loop)
    patience = min(seconds, LONGEST_WAIT_SECONDS) + ANSWER_SECONDS
    while not wait((future,), patience).done:
        if loop.is_closed():
            raise _ended()
        if not _answers(loop):
            future.cancel()
            raise _unanswered(seconds, now() - began)
        patience = ANSWER_SECONDS
    try:
        return future.result()
    except CancelledError:
        raise _ended() from None


def _unanswered(seconds: float, waited: float) -> PublishUnknown:
    return PublishUnknown(
        f"A message was not acknowledged within {seconds:g} s: the bus's event loop has not answered "
        f"for {waited:.0f} s: something blocks it. Look for a call in an async function that "
        "does not return, such as time.sleep, or a TestClient in an async test. It may be written, "
        "or may land later; publish it again only if its consumers bear a duplicate."
    )


def _ended() -> PublishUnknown:
    return PublishUnknown(
        "The bus's event loop ended while a message was being published. It may be written; publish it "
        "again only if its consumers bear a duplicate."
    )


def read_beside_the_loop(read: Callable[[], T]) -> T:
    """What `read` returns. It must change nothing; the loop's thread may change what it reads meanwhile."""
    for _ in range(TRIES):
        with suppress(RuntimeError):  # how Python says that a container changed while it was iterated
            return read()
    return read()


def _refused_when_closed(
    call: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> Coroutine[Any, Any, T]:
    if loop.is_closed():
        call.close()
        raise BusStateError("the bus's event loop was closed before the bus was stopped: start the bus again")
    return call


def _answers(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop still runs callbacks."""
    answered = Event()
    loop.call_soon_threadsafe(answered.set)
    return answered.wait(ANSWER_SECONDS)
