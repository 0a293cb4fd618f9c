"""Waits for room in the buffer that is worth a fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from convex_messaging_fastapi.clock import Clock, time_limit
from convex_messaging_fastapi.consuming.assignment import OwnedPartition
from convex_messaging_fastapi.consuming.intake import Limits, is_open, lacking

FETCH_WAIT_SECONDS = 0.2
"""A member that fetches less often than this may count as gone."""


class Room:
    """Knows when a worker that has no room should look again."""

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        partitions: Callable[[], Collection[OwnedPartition]],
        is_short_of_work: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._partitions = partitions
        self._is_short_of_work = is_short_of_work
        self._news = asyncio.Event()
        self._is_let_go = False
        # Records to finish until it is worth a fetch, while somebody waits for that.
        self._lacking: int | None = None

    @property
    def is_worth_a_fetch(self) -> bool:
        """Whether there is room for many records, or a handler that may be waiting for one."""
        return self._is_short_of_work() or lacking(self._partitions(), self._limits) <= 0

    async def wait(self) -> None:
        """Return once a fetch is worth its cost, and after `FETCH_WAIT_SECONDS` for what room there is.

        Then a partition of which nothing is buffered is not kept waiting by the others for longer,
        and the member fetches often enough to stay alive.
        """
        try:
            with suppress(TimeoutError):
                async with time_limit(self._clock, FETCH_WAIT_SECONDS):
                    await self._wait()
        finally:
            self._lacking = None

    async def _wait(self) -> None:
        self._is_let_go = False
        while True:
            self._news.clear()
            self._lacking = lacking(self._partitions(), self._limits)
            await self._news.wait()
            if self._is_let_go or self.is_worth_a_fetch or self._is_one_empty:
                return

    @property
    def _is_one_empty(self) -> bool:
        return any(is_open(owned) and not owned.ledger.unfinished for owned in self._partitions())

    def look(self) -> None:
        """There may be room now."""
        self._news.set()

    def let_go(self) -> None:
        """Whoever waits for room is to go on at once."""
        self._is_let_go = True
        self._news.set()

    def note_freed(self, records: int, is_one_empty: bool) -> None:
        """So many records were finished; whether a partition has none left that is not."""
        if self._lacking is None or self._news.is_set():
            return
        self._lacking -= records
        if is_one_empty or self._lacking <= 0 or self._is_short_of_work():
            self._news.set()

    def note_idle(self) -> None:
        """A handler has nothing to do."""
        if self._lacking is not None:
            self._news.set()
