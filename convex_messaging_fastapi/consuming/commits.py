"""Commits finished work, and only finished work: when, and one attempt at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

from convex_messaging_fastapi.clock import Clock, sleep, time_limit
from convex_messaging_fastapi.consuming.assignment import Assignment, OwnedPartition
from convex_messaging_fastapi.consuming.commit_retries import CommitRetries, FailingCommits
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.consuming.offset_metadata import encode
from convex_messaging_fastapi.events import Committed
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, ConsumerTransport, Position

COMMIT_SECONDS = 5.0
"""How long one attempt may take before its outcome counts as unknown."""

RETRY_SECONDS = 1.0
"""Seconds between a failed commit of a partition and its next try."""

REFUSED_RETRY_SECONDS = 30.0
"""The same after a refusal, at most: the commit interval where that is shorter."""

LAST_RETRY_SECONDS = 0.2
"""Seconds between tries of the last commit, in the time that a drain has left."""

AGAIN = frozenset({CommitOutcome.FAILED, CommitOutcome.UNKNOWN})
"""Outcomes that may be better on a try soon after."""

Outcomes = Mapping[TopicPartition, CommitOutcome]


class Committer:
    """Commits the finished prefix of every partition of one worker.

    `interval` is seconds between commits, or `None` to commit as soon as anything is finished.
    `half_span` finished records of a partition make a commit due at once.
    """

    def __init__(
        self,
        group: str,
        transport: Callable[[], ConsumerTransport],
        assignment: Callable[[], Assignment],
        clock: Clock,
        interval: float | None,
        half_span: int,
        on_committed: Callable[[], None],
        observers: Observers,
    ) -> None:
        self._group = group
        self._tell_committed = observers.committed
        self._transport = transport
        self._assignment = assignment
        self._clock = clock
        self._interval = interval
        self.due_at: int = 1 if interval is None else max(1, half_span)
        self._due = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._on_committed = on_committed
        refused = REFUSED_RETRY_SECONDS if interval is None else min(interval, REFUSED_RETRY_SECONDS)
        self._retries = CommitRetries(group, RETRY_SECONDS, max(RETRY_SECONDS, refused))

    def note_assigned(self) -> None:
        """Commit at once where the new assignment starts.

        The reset policy has placed partitions without a commit. Under `latest`, if this process died
        before its first commit, the next owner would be placed behind everything that was begun here.
        """
        self._retries.keep(self._assignment().partitions.keys())
        self._due.set()

    @property
    def failing(self) -> Mapping[TopicPartition, FailingCommits]:
        """Partitions whose commits go on failing."""
        return self._retries.failing

    def make_due(self) -> None:
        """A partition has `due_at` finished records that no commit has covered yet."""
        self._due.set()

    def note_spans(self, partitions: Iterable[OwnedPartition]) -> None:
        """Make a commit due where much of the span is used: gaps in a log use it without being finished."""
        used = [
            owned.topic_partition
            for owned in partitions
            if owned.ledger.committable - owned.ledger.committed >= self.due_at
        ]
        if used and not self._retries.resting(self._clock.now()).issuperset(used):
            self._due.set()

    async def run(self) -> None:
        """Commit whenever it is due, until cancelled."""
        while True:
            await self._wait_until_due()
            self._due.clear()
            await self.commit(self._clock.now() + COMMIT_SECONDS)

    async def commit(
        self, deadline: float, leave_out: Collection[TopicPartition] | None = None
    ) -> Outcomes | None:
        """One attempt to commit all that is finished now, after one that is under way.

        `leave_out` are partitions not to be tried; by default those whose last try failed just before.
        `None` when the attempt under way did not end by the deadline.
        """
        try:
            async with time_limit(self._clock, deadline - self._clock.now()):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            return None
        try:
            if leave_out is None:
                leave_out = self._retries.resting(self._clock.now())
            return await self._commit(self._assignment(), leave_out, deadline)
        finally:
            self._one_at_a_time.release()

    async def commit_at_last(self, deadline: float) -> None:
        """Commit before the assignment ends: the next owner handles again what was not committed.

        A coordinator that moves, as in a rolling restart, fails for a moment, so failures are tried
        again until the deadline. What is refused for good is tried once.
        """
        refused: set[TopicPartition] = set()
        while True:
            outcomes = await self.commit(deadline, refused)
            if outcomes is not None:
                refused |= {where for where, outcome in outcomes.items() if outcome not in AGAIN}
                if not AGAIN.intersection(outcomes.values()):
                    return
            if self._clock.now() + LAST_RETRY_SECONDS >= deadline:
                return
            await sleep(self._clock, LAST_RETRY_SECONDS)

    async def _commit(
        self, assignment: Assignment, leave_out: Collection[TopicPartition], deadline: float
    ) -> Outcomes:
        offsets = committable(assignment, int(self._clock.unix() * 1000), leave_out)
        if not offsets:
            return {}
        for where in offsets:
            assignment.partitions[where].ledger.begin_commit()
        transport, began = self._transport(), self._clock.now()
        outcomes = await transport.commit(assignment.epoch, offsets, deadline)
        stored = [where for where, outcome in outcomes.items() if outcome is CommitOutcome.COMMITTED]
        for where in stored:
            assignment.partitions[where].ledger.mark_committed(offsets[where].offset)
        if self._tell_committed is not None:
            told = {where: offsets[where].offset for where in stored}
            seconds = self._clock.now() - began
            self._tell_committed(Committed(self._group, told, outcomes.keys() - told.keys(), seconds))
        if stored:
            self._on_committed()
        if assignment is self._assignment():
            self._retries.note(outcomes, transport.contact().refusals, self._clock.now())
        return outcomes

    async def _wait_until_due(self) -> None:
        until = self._retries.next_retry(self._assignment().partitions.keys()) - self._clock.now()
        if self._interval is not None:
            until = min(until, self._interval)
        try:
            async with time_limit(self._clock, None if until == float("inf") else until):
                await self._due.wait()
        except TimeoutError:
            return  # the interval is over, or a partition may be tried again: both make a commit due


def committable(
    assignment: Assignment, now_ms: int, leave_out: Collection[TopicPartition] = ()
) -> dict[TopicPartition, Position]:
    """Of each partition with news its finished prefix, and what is finished above that."""
    return {
        where: position_of(owned.ledger, now_ms)
        for where, owned in assignment.partitions.items()
        if where not in leave_out and owned.ledger.has_news
    }


def position_of(ledger: Ledger, now_ms: int) -> Position:
    committable = ledger.committable
    finished_by_ms = ledger.finished_by_ms(now_ms)
    return Position(committable, encode(committable, ledger.finished_above(), finished_by_ms))
