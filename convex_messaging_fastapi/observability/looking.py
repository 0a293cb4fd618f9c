"""Asks the cluster for a bus that is watched: where logs end, and how many dead letters are open."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import MessagingError
from convex_messaging_fastapi.observability.counts import OTHER
from convex_messaging_fastapi.observability.metrics import Samples, label
from convex_messaging_fastapi.observability.watching import Watched
from convex_messaging_fastapi.tasks import cancelled, later

ASK_SECONDS = 5.0

WATCHED_SECONDS = 60.0
"""For how long after a scrape it goes on: whoever scrapes does so more often."""

MAX_GROUPS = 100
"""Groups of open dead letters that are told apart: a letter may name any."""


class Looks:
    """The tasks that look for one bus. Made on its event loop; `wanted` may be called in any thread."""

    def __init__(self, bus: Watched, clock: Clock) -> None:
        self._bus, self._clock = bus, clock
        self._loop = asyncio.get_running_loop()
        self._wanted_at = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._open: dict[str, int] = {}
        self._expires: dict[str, float] = {}

    def wanted(self) -> None:
        """Somebody looks at the lag. Asks nobody: that is done later."""
        self._wanted_at = self._clock.now()
        if self._asking is None or self._asking.done():
            with suppress(RuntimeError):  # of a loop that is closed
                self._loop.call_soon_threadsafe(self._begin, context=Context())

    def count_letters(self, seconds: float) -> None:
        """Begin to count open dead letters, every so many seconds."""
        work = self._again_and_again(seconds, self._count, lambda: True)
        self._counting = later(work, "convex-count-dead-letters")

    def add_letters(self, samples: Samples) -> None:
        for group, count in list(self._open.items()):
            samples.add("dead_letters_open", (group,), count)
        for group, at in list(self._expires.items()):
            samples.least("dead_letter_oldest_expires_timestamp_seconds", (group,), at)

    async def stop(self) -> None:
        self._wanted_at = -WATCHED_SECONDS
        await cancelled(self._asking, self._counting)

    # -- inside --------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._is_watched() and (self._asking is None or self._asking.done()):
            self._asking = later(
                self._again_and_again(ASK_SECONDS, self._ask, self._is_watched), "convex-watch"
            )

    def _is_watched(self) -> bool:
        return self._clock.now() - self._wanted_at <= WATCHED_SECONDS

    async def _again_and_again(
        self, seconds: float, look: Callable[[], Awaitable[None]], go_on: Callable[[], bool]
    ) -> None:
        while go_on():
            with suppress(MessagingError):  # an outage is told elsewhere; what was known gets old
                await look()
            due = asyncio.Event()
            timer = self._clock.look_later(seconds, due.set)
            try:
                await due.wait()
            finally:
                timer.cancel()

    async def _ask(self) -> None:
        await self._bus.operations.lag()

    async def _count(self) -> None:
        page = await self._bus.operations.dead_letters(limit=0)
        counted, expires = Counter[str](), dict[str, float]()
        for each in page.groups:
            group = label(each.group)
            if group not in counted and len(counted) >= MAX_GROUPS:
                group = OTHER
            counted[group] += each.counts.get("open", 0)
            if each.expires_at is not None:
                at = each.expires_at.timestamp()
                expires[group] = min(expires.get(group, at), at)
        self._open, self._expires = dict(counted), expires
