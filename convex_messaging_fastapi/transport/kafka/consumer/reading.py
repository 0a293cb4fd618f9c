"""Takes records that the engine has fetched, partition by partition: one that fails holds up no other."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.errors import OffsetOutOfRangeError

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, Fetched
from convex_messaging_fastapi.transport.kafka.consumer.fetch_limits import FetchLimits
from convex_messaging_fastapi.transport.kafka.consumer.progress import Progress
from convex_messaging_fastapi.transport.kafka.engine import span_of
from convex_messaging_fastapi.transport.kafka.offsets import Course, Holding, Moves
from convex_messaging_fastapi.transport.kafka.recovery import Complaints, explain_unreadable, unreadable_batch
from convex_messaging_fastapi.transport.kafka.tuning import Tuning


class Reading:
    """What one assignment reads, from its first record to its end."""

    def __init__(
        self, holding: Holding, course: Course, complaints: Complaints, clock: Clock, tuning: Tuning
    ) -> None:
        self.holding: Holding = holding
        self.course: Course = course
        self._complaints, self._clock, self._tuning = complaints, clock, tuning
        self._limits = FetchLimits()
        self._progress = Progress(tuning.stuck_after_seconds)
        self._look_at = 0.0

    def close(self) -> None:
        self.course.close()
        self._complaints.forget_partitions()

    def finish_moves(self) -> tuple[dict[TopicPartition, int], Moves | None]:
        """Go on from positions that were found: the new positions, and moves to a log that is another one.

        Of the latter nothing is to be committed any more, and the offsets may be smaller.
        """
        positions: dict[TopicPartition, int] = {}
        for where, found in self.course.found():
            for one in found:
                self._complaints.is_read(one)
            if found[where].is_another_log:
                self.holding.cut |= found.keys()
                return positions, found
            positions[where] = found[where].to
            self.holding.go_to(where, found[where].to)
        return positions, None

    async def take(
        self, wanted: Mapping[TopicPartition, int], positions: dict[TopicPartition, int]
    ) -> Fetched:
        """Take records that were fetched already, until they are enough; adds to `positions`."""
        holding, count = self.holding, 0
        records: dict[TopicPartition, list[Record]] = {}
        ends: dict[TopicPartition, int] = {}
        self._complaints.hear_of_fetches(holding.member)
        positions |= self._go_behind()
        left = self.course.leave_recreated() if holding.open else set()
        for where, limit in wanted.items():
            if limit < 1 or where.topic in left or not self._is_readable(where):
                continue
            try:
                taken = await holding.member.take(where, self._limits.of(where, limit))
            except Exception as error:  # noqa: BLE001 - decompression may raise anything at all
                self._unreadable(where, error)
                continue
            self._is_read(where)
            if taken:
                records[where] = taken
                ends[where] = holding.member.end_seen(where) or 0
                count += len(taken)
            position = holding.member.position(where)
            if position is not None and position != holding.next[where]:
                holding.next[where] = positions[where] = position
            if count >= ENOUGH_RECORDS:
                break
        return Fetched(holding.epoch, records, positions, self._complaints.tries.given_up(), ends)

    def stuck(self, wanted: Mapping[TopicPartition, int]) -> str | None:
        """A partition that stands still although its log goes on, in words; looked for now and then."""
        now = self._clock.now()
        if now < self._look_at or not self.holding.open:
            return None
        self._look_at = now + self._tuning.stuck_after_seconds / 10
        watched = [where for where, limit in wanted.items() if limit and self._is_free(where)]
        stuck = self._progress.stuck(self.holding.member, self.holding.next, watched, now)
        if stuck is None:
            return None
        return f"{stuck.topic}/{stuck.partition} stands at {self.holding.next[stuck]} and gets nowhere"

    def _is_readable(self, where: TopicPartition) -> bool:
        return (
            self.holding.member.has_data(where)  # first, for most have none
            and self.holding.open
            and self.holding.member.delivering
            and where in self.holding.next
            and self._is_free(where)
        )

    def _is_free(self, where: TopicPartition) -> bool:
        """Whether the partition may be read: no move is under way, and no pause after a failure."""
        return not self.course.is_moving(where) and not self._complaints.rests(where)

    def _is_read(self, where: TopicPartition) -> None:
        self._complaints.is_read(where)
        self._limits.taken(where)

    def _go_behind(self) -> dict[TopicPartition, int]:
        gone = self.course.go_behind(self._complaints.tries.passed())
        for where in gone:
            self._is_read(where)
        return gone

    def _unreadable(self, where: TopicPartition, error: Exception) -> None:
        """The engine could not read one partition: go back to what was delivered, and report it."""
        member, offset = self.holding.member, self.holding.next[where]
        if isinstance(error, OffsetOutOfRangeError):
            self.course.move(where)
            return
        member.seek(where, offset)
        if member.mend(where, error):
            self._complaints.hear_of_header(where, offset)
            return
        span = span_of(error)
        if self._limits.fewer(where, offset, span):
            return
        why = explain_unreadable(error, where, offset, span)
        batch = unreadable_batch(error, where, offset, span)
        self._complaints.let_rest(where, why, member.answered(where), batch)
