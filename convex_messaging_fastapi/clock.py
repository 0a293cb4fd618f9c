"""Time and waiting; tests turn the clock by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol


class Timer(Protocol):
    """A call that has been arranged for later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Monotonic seconds for waiting, Unix seconds for telling the time."""

    def now(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        ...

    def unix(self) -> float:
        """Seconds since 1970; may jump, so never wait by it."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` on the running loop after `seconds`."""
        ...

    def look_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """The same for a mere look at what may have changed, which may come late."""
        ...


class SystemClock:
    """The machine's own time."""

    now: Callable[[], float] = staticmethod(time.monotonic)
    unix: Callable[[], float] = staticmethod(time.time)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)

    look_later = call_later


class ManualClock:
    """A clock that stands still until `advance` turns it; for tests.

    Timers fire in the order of their due times, on the caller's stack: give the loop a turn
    afterwards to see their effects.
    """

    def __init__(self, unix: float = 1_767_225_600.0) -> None:
        self._now = 0.0
        self._unix_at_zero = unix
        self._timers: list[tuple[float, int, _ManualTimer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def unix(self) -> float:
        return self._unix_at_zero + self._now

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return self._arrange(seconds, _ManualTimer(callback))

    def look_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return self._arrange(seconds, _ManualTimer(callback, is_look=True))

    def _arrange(self, seconds: float, timer: _ManualTimer) -> _ManualTimer:
        if seconds <= 0:
            asyncio.get_running_loop().call_soon(timer.fire)  # due now: the clock need not be turned
        else:
            heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
        return timer

    def next_due(self) -> float | None:
        """Seconds until the next timer, or `None` when nothing waits."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] - self._now if self._timers else None

    def next_step(self) -> float | None:
        """Seconds until the next timer that is more than a look; if there is none, as `next_due`."""
        steps = (at for at, _, timer in self._timers if not timer.cancelled and not timer.is_look)
        at = min(steps, default=None)
        return self.next_due() if at is None else at - self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, firing every timer that falls due on the way."""
        end = self._now + seconds
        while (due := self.next_due()) is not None and self._now + due <= end:
            at, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, at)
            timer.fire()
        self._now = end


class _ManualTimer:
    def __init__(self, callback: Callable[[], object], *, is_look: bool = False) -> None:
        self._callback = callback
        self.is_look = is_look
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._callback()


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait until `seconds` have passed on `clock`."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    woken = asyncio.Event()
    timer = clock.call_later(seconds, woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()


@asynccontextmanager
async def time_limit(clock: Clock, seconds: float | None) -> AsyncIterator[None]:
    """Raise `TimeoutError` in the body once `seconds` have passed on `clock`; `None` = never.

    The body is cancelled at that moment. For engine calls, which must not be cancelled, use
    `settled_within`.
    """
    if seconds is None:
        yield
        return
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        timer = clock.call_later(seconds, lambda: scope.reschedule(loop.time()))
        try:
            yield
        finally:
            timer.cancel()


async def settled_within(clock: Clock, future: asyncio.Future[Any], seconds: float) -> bool:
    """Whether `future` was done within `seconds`. It is not cancelled, and its result is not read."""
    if future.done():
        return True
    woken = asyncio.Event()
    future.add_done_callback(lambda _: woken.set())
    timer = clock.call_later(max(0.0, seconds), woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()
    return future.done()
