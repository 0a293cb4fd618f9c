"""What a bus did in the last five minutes: its counts, noted every five seconds while it runs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.events import Observer
from convex_messaging_fastapi.observability.looking import Looks
from convex_messaging_fastapi.observability.watching import Watched, Watcher
from convex_messaging_fastapi.status import BusStatus
from convex_messaging_fastapi.tasks import cancelled, later

STEP_SECONDS = 5.0
STEPS = 60


class Counts(NamedTuple):
    """Since the bus started, all handlers together."""

    handled: int
    failed: int
    buried: int
    published: int

    def since(self, before: Counts) -> Counts:
        """A handler that has left takes its counts along: then there is nothing to tell."""
        return Counts(*(max(0, now - then) for now, then in zip(self, before, strict=True)))


class Step(NamedTuple):
    """What was counted in the five seconds up to `at`."""

    at: datetime
    counted: Counts


def counts_of(status: BusStatus) -> Counts:
    every = [each for worker in status.workers for each in worker.subscriptions]
    return Counts(
        sum(each.handled for each in every),
        sum(each.failed_attempts for each in every),
        sum(each.buried for each in every),
        0 if status.producer is None else status.producer.published,
    )


class Course(Watcher):
    """Looks at the bus every five seconds, and hears of no message, so that messages cost nothing more."""

    def __init__(self) -> None:
        self.since: datetime | None = None
        """When the bus started, in UTC; `None` before."""
        self._steps: deque[Step] = deque(maxlen=STEPS)
        self._last: Counts | None = None
        self._looks: Looks | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The oldest first."""
        return tuple(self._steps)

    @property
    def instance(self) -> str:
        """Which process tells this."""
        return f"{socket.gethostname()}:{os.getpid()}"

    def lag_wanted(self) -> None:
        """Somebody looks at lags: they are asked for every five seconds, until a minute after this."""
        if self._looks is not None:
            self._looks.wanted()

    def _hearing(self, client_id: str) -> Iterable[Observer]:
        return ()

    def _watch(self, bus: Watched, clock: Clock) -> None:
        self.since = datetime.fromtimestamp(clock.unix(), UTC)
        self._steps.clear()
        self._last, self._looks = None, Looks(bus, clock)
        self._task = later(self._look_again_and_again(bus, clock), "convex-console")

    async def _leave(self, bus: Watched) -> None:
        looks, task = self._looks, self._task
        self._looks = self._task = None
        if looks is not None:
            await looks.stop()
        await cancelled(task)

    async def _look_again_and_again(self, bus: Watched, clock: Clock) -> None:
        while True:
            due = asyncio.Event()
            timer = clock.look_later(STEP_SECONDS, due.set)
            try:
                await due.wait()
            finally:
                timer.cancel()
            counts = counts_of(bus.status())
            before, self._last = self._last or Counts(0, 0, 0, 0), counts
            self._steps.append(Step(datetime.fromtimestamp(clock.unix(), UTC), counts.since(before)))
