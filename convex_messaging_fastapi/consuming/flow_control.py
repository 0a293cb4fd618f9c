"""Decides when a worker fetches, how much of each partition, and how long a fetch waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping
from contextlib import suppress

from convex_messaging_fastapi.clock import Clock, time_limit
from convex_messaging_fastapi.consuming.assignment import Assignment
from convex_messaging_fastapi.consuming.buffer_shares import (
    Limits,
    is_open,
    next_turn,
    of_empty_ones,
    records_short,
    wanted,
)
from convex_messaging_fastapi.records import TopicPartition

FETCH_WAIT_SECONDS = 0.2
"""The longest wait of a fetch: a member that fetches less often may count as gone."""

FETCH_WAIT_WHILE_FULL_SECONDS = 0.02
"""The longest wait of a fetch while some partition has no room: it is to have its turn soon after."""

Want = Mapping[TopicPartition, int]
"""How many records of each partition to fetch."""


class FlowControl:
    """Shares the buffer of one worker among the partitions of its current assignment.

    `is_short_of_work` says whether a handler may be waiting for a record.
    """

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        assignment: Callable[[], Assignment],
        is_short_of_work: Callable[[], bool],
    ) -> None:
        self.limits = limits
        self._clock = clock
        self._assignment = assignment
        self._is_short_of_work = is_short_of_work
        self.is_shut = False  # wants nothing
        self._turn = 0
        self._news = asyncio.Event()
        self._has_to_go_on = False
        # Records still to finish before a fetch pays, while `wait_for_room` waits for that.
        self._awaited: int | None = None

    def wanted(self) -> Want:
        """What there is room for, whether or not that is worth a fetch."""
        return {} if self.is_shut else wanted(self._assignment().partitions.values(), self.limits, self._turn)

    def worth_a_fetch(self, want: Want) -> Want:
        """The part of `want` to fetch now; where there is none it pays to wait for more room."""
        if self._is_worth_a_fetch:
            return want
        return of_empty_ones(want, self._assignment().partitions)

    def wait_seconds(self, want: Want) -> float:
        """How long a fetch of `want` may wait for records."""
        open_ones = sum(owned.held is None for owned in self._assignment().partitions.values())
        return FETCH_WAIT_SECONDS if len(want) >= open_ones else FETCH_WAIT_WHILE_FULL_SECONDS

    def note_fetched(self, assignment: Assignment, want: Want, got: Container[TopicPartition]) -> None:
        """Move the turn on, by what a fetch under this assignment brought."""
        self._turn = next_turn(self._turn, assignment.partitions, want, got)

    async def wait_for_room(self) -> None:
        """Return once a fetch is worth its cost, at the latest after `FETCH_WAIT_SECONDS`.

        The limit keeps the member alive, and an empty partition from waiting for the others.
        """
        try:
            with suppress(TimeoutError):
                async with time_limit(self._clock, FETCH_WAIT_SECONDS):
                    await self._wait()
        finally:
            self._awaited = None

    def note_room(self) -> None:
        """There may be room now: see whether there is."""
        self._news.set()

    def stop_waiting(self) -> None:
        """Let `wait_for_room` return at once."""
        self._has_to_go_on = True
        self._news.set()

    def note_freed(self, records: int, is_one_empty: bool) -> None:
        """`records` were finished; `is_one_empty` says whether a partition has no unfinished one left."""
        if self._awaited is None or self._news.is_set():
            return
        self._awaited -= records
        if is_one_empty or self._awaited <= 0 or self._is_short_of_work():
            self._news.set()

    def note_idle(self) -> None:
        """A handler has nothing to do."""
        if self._awaited is not None:
            self._news.set()

    async def _wait(self) -> None:
        self._has_to_go_on = False
        while True:
            self._news.clear()
            self._awaited = self._records_short
            await self._news.wait()
            if self._has_to_go_on or self._is_worth_a_fetch or self._is_one_empty:
                return

    @property
    def _records_short(self) -> int:
        return records_short(self._assignment().partitions.values(), self.limits)

    @property
    def _is_worth_a_fetch(self) -> bool:
        """Whether there is room for many records, or a handler that may be waiting for one."""
        return self._is_short_of_work() or self._records_short <= 0

    @property
    def _is_one_empty(self) -> bool:
        partitions = self._assignment().partitions.values()
        return any(is_open(owned) and not owned.ledger.unfinished for owned in partitions)
