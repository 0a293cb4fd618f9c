"""What is wrong with a member although its cluster answers: with its group, or with a partition."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from aiokafka.errors import KafkaError

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Unreadable
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation, explain_membership
from convex_messaging_fastapi.transport.kafka.recovery.tries import Tries
from convex_messaging_fastapi.transport.kafka.tuning import Tuning


class Complaints:
    """Remembers complaints of the engine for as long as they hold."""

    def __init__(self, group: str, clock: Clock, tuning: Tuning) -> None:
        self._group, self._clock, self._tuning = group, clock, tuning
        self._of_group: _Complaint | None = None
        self._unreadable: dict[TopicPartition, _Unreadable] = {}
        self._mended: set[TopicPartition] = set()
        self.tries: Tries = Tries(tuning.unreadable_tries, tuning.unreadable_seconds)
        self.optional: frozenset[str] = frozenset()
        """Topics for which a missing right to read is no trouble."""

    def hear(self, error: KafkaError) -> Explanation | None:
        """The engine complains of its group. One complaint may pass. After two within a few seconds it does
        not recover, and this returns why to replace it."""
        now = self._clock.now()
        before, why = self._of_group, explain_membership(error, self._group)
        self._of_group = _Complaint(now + self._tuning.complaint_seconds, why)
        is_second = before is not None and before.until > now
        is_known = is_second and before is not None and before.why == why
        reports.group_complaint(self._group, why.detail, is_known=is_known)
        return why if is_second else None

    def hear_of_rival(self, rival: Explanation) -> None:
        self._of_group = _Complaint(self._clock.now() + self._tuning.rival_seconds, rival)

    def let_rest(
        self, where: TopicPartition, why: Explanation, answered: int | None, batch: Unreadable | None = None
    ) -> None:
        """Leave a partition that cannot be read alone for a while; the log says so once.

        `answered` is when a broker last answered a fetch of it without an error, `batch` what could not be
        read.
        """
        before, now = self._unreadable.get(where), self._clock.now()
        until = now + self._tuning.partition_pause_seconds
        if batch is not None:
            self.tries.failed(where, batch, now)
        self._unreadable[where] = _Unreadable(until, why, answered)
        told = before is not None and before.why == why
        reports.cannot_read(self._group, why.detail, is_known=told)

    def hear_of_header(self, where: TopicPartition, offset: int) -> None:
        """A header's name had to be mended, which any producer can cause; told once a partition."""
        reports.header_mended(self._group, where, offset, is_known=where in self._mended)
        self._mended.add(where)

    def rests(self, where: TopicPartition) -> bool:
        rest = self._unreadable.get(where)
        return rest is not None and rest.until > self._clock.now()

    def is_read(self, where: TopicPartition) -> None:
        """The partition was read: forget its complaint."""
        self._unreadable.pop(where, None)
        self.tries.succeeded(where)

    def hear_of_fetches(self, fetches: Fetches) -> None:
        """End complaints that are over without a record taken, since a partition may be idle or held.

        A broker that answers a fetch without an error no longer refuses. What it answered with may still be
        unreadable, unless it is nothing.
        """
        for where, complaint in tuple(self._unreadable.items()):
            well = fetches.answered(where) != complaint.answered
            if well and (complaint.why.refused or not fetches.has_data(where)):
                # The tries are kept: a broker may have left the partition out of one answer.
                del self._unreadable[where]

    def forget_partitions(self) -> None:
        self._unreadable.clear()
        self.tries.forget()

    def current(self) -> Explanation | None:
        """What is wrong now. The complaint of a partition lasts longer than its pause, until it is read."""
        if self._of_group is not None and self._of_group.until > self._clock.now():
            return self._of_group.why
        of_partitions = (
            rest.why
            for where, rest in self._unreadable.items()
            if where.topic not in self.optional or not rest.why.refused
        )
        return next(of_partitions, None)


class Fetches(Protocol):
    """The part of `Member` that tells about fetches."""

    def answered(self, where: TopicPartition) -> int | None: ...

    def has_data(self, where: TopicPartition) -> bool: ...


class _Unreadable(NamedTuple):
    """A partition that is left alone until then; `answered` as for `let_rest`."""

    until: float
    why: Explanation
    answered: int | None


class _Complaint(NamedTuple):
    """A complaint that is shown until then."""

    until: float
    why: Explanation
