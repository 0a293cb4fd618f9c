"""When finished work is committed, and how: one attempt at a time, never of unfinished work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from convex_messaging_fastapi.clock import Clock, sleep, time_limit
from convex_messaging_fastapi.consuming.assignment import Assignment, OwnedPartition
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.consuming.ranges import encode
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, ConsumerTransport, Position

logger = logging.getLogger(__name__)

COMMIT_SECONDS = 5.0
"""How long one attempt may take before its outcome counts as unknown."""

RETRY_SECONDS = 1.0
"""Between an attempt that failed and the next one."""

LAST_RETRY_SECONDS = 0.2
"""The same when there is no more time than a drain leaves."""


class Committer:
    """Commits the finished prefix of every partition of one worker.

    `interval` is seconds between commits, or `None` to commit as soon as anything is finished.
    `half_span` finished records of a partition make a commit due at once.
    """

    def __init__(
        self,
        transport: Callable[[], ConsumerTransport],
        assignment: Callable[[], Assignment],
        clock: Clock,
        interval: float | None,
        half_span: int,
        on_committed: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._assignment = assignment
        self._clock = clock
        self._interval = interval
        self.due_at = 1 if interval is None else max(1, half_span)
        self._due = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._on_committed = on_committed

    def note_assigned(self) -> None:
        """Where a new assignment starts is committed at once.

        A partition without a commit was placed by the reset policy; under `latest`, were we to
        crash now, whoever came next would be placed behind everything that we had begun.
        """
        self._due.set()

    def make_due(self) -> None:
        """A partition has `due_at` finished records that no commit has covered yet."""
        self._due.set()

    def note_spans(self, partitions: Iterable[OwnedPartition]) -> None:
        """Gaps in a log use up the span, too, and are never finished: look how much of it is used."""
        if any(owned.ledger.committable - owned.ledger.committed >= self.due_at for owned in partitions):
            self._due.set()

    async def run(self) -> None:
        """Commit whenever it is due, until cancelled."""
        while True:
            await self._wait_until_due()
            self._due.clear()
            outcome = await self.commit(self._clock.now() + COMMIT_SECONDS)
            if outcome in (CommitOutcome.FAILED, CommitOutcome.UNKNOWN):
                # Nothing else need make it due: all may be finished, and the span used up.
                await sleep(self._clock, RETRY_SECONDS)
                self._due.set()

    async def commit(self, deadline: float) -> CommitOutcome:
        """One attempt to commit all that is finished now, after one that is under way."""
        try:
            async with time_limit(self._clock, deadline - self._clock.now()):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            return CommitOutcome.UNKNOWN
        try:
            return await self._commit(self._assignment(), deadline)
        finally:
            self._one_at_a_time.release()

    async def commit_at_last(self, deadline: float) -> None:
        """Commit before the assignment ends: what is not, its next owner handles again.

        A coordinator that moves, as it does when brokers are restarted in turn, refuses for a moment.
        """
        again = (CommitOutcome.FAILED, CommitOutcome.UNKNOWN)
        while await self.commit(deadline) in again and self._clock.now() + LAST_RETRY_SECONDS < deadline:
            await sleep(self._clock, LAST_RETRY_SECONDS)

    async def _commit(self, assignment: Assignment, deadline: float) -> CommitOutcome:
        offsets = committable(assignment, int(self._clock.unix() * 1000))
        if not offsets:
            return CommitOutcome.COMMITTED
        covered = {where: assignment.partitions[where].ledger.begin_commit() for where in offsets}
        outcome = await self._transport().commit(assignment.epoch, offsets, deadline)
        for where, position in offsets.items():
            ledger = assignment.partitions[where].ledger
            if outcome is CommitOutcome.COMMITTED:
                ledger.mark_committed(position.offset)
            else:
                ledger.finished_since_commit += covered[where]
        if outcome is CommitOutcome.COMMITTED:
            self._on_committed()
        else:
            level = logging.DEBUG if outcome is CommitOutcome.STALE else logging.WARNING
            logger.log(level, "a commit of %d partitions ended %s", len(offsets), outcome.value)
        return outcome

    async def _wait_until_due(self) -> None:
        if self._interval is None:
            await self._due.wait()
            return
        try:
            async with time_limit(self._clock, self._interval):
                await self._due.wait()
        except TimeoutError:
            return  # the interval is over: that, too, makes it due


def committable(assignment: Assignment, now_ms: int) -> dict[TopicPartition, Position]:
    """The finished prefix, and what is finished above it, wherever anything was finished."""
    return {
        where: position_of(owned.ledger, now_ms)
        for where, owned in assignment.partitions.items()
        if owned.ledger.has_news
    }


def position_of(ledger: Ledger, now_ms: int) -> Position:
    committable = ledger.committable
    finished_by_ms = ledger.finished_by_ms(now_ms)
    return Position(committable, encode(committable, ledger.finished_above(), finished_by_ms))
