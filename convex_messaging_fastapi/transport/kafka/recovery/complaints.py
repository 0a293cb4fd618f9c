"""What is wrong with a member although its cluster answers: in its group, or in a partition it reads."""

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
    """Remembers what was complained of, for as long as it holds."""

    def __init__(self, group: str, clock: Clock, tuning: Tuning) -> None:
        self._group, self._clock, self._tuning = group, clock, tuning
        self._of_group: _Complaint | None = None
        self._unreadable: dict[TopicPartition, _Unreadable] = {}
        self._mended: set[TopicPartition] = set()
        self.tries: Tries = Tries(tuning.unreadable_tries, tuning.unreadable_seconds)
        self.optional: frozenset[str] = frozenset()
        """Topics that nobody need be let read."""

    def hear(self, error: KafkaError) -> Explanation | None:
        """The engine complains of its group. One complaint may pass; of two within a few seconds the
        engine does not recover by itself: then the answer says what it suffers from."""
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
        """A partition that cannot be read is left alone for a while; an error in the log says so once.

        `answered` is when a broker last answered a fetch of it well, `batch` what could not be read.
        """
        before, now = self._unreadable.get(where), self._clock.now()
        until = now + self._tuning.partition_pause_seconds
        if batch is not None:
            self.tries.failed(where, batch, now)
        self._unreadable[where] = _Unreadable(until, why, answered)
        told = before is not None and before.why == why
        reports.cannot_read(self._group, why.detail, is_known=told)

    def hear_of_header(self, where: TopicPartition, offset: int) -> None:
        """A header's name had to be mended, as anybody can make it; a partition is told of once."""
        reports.header_mended(self._group, where, offset, is_known=where in self._mended)
        self._mended.add(where)

    def rests(self, where: TopicPartition) -> bool:
        rest = self._unreadable.get(where)
        return rest is not None and rest.until > self._clock.now()

    def is_read(self, where: TopicPartition) -> None:
        """Reading goes on there: what was said of it is past."""
        self._unreadable.pop(where, None)
        self.tries.succeeded(where)

    def hear_of_fetches(self, fetches: Fetches) -> None:
        """End what is past: nobody may ever take a record of a partition that is idle, or full.

        A broker that refused and answers well refuses no more. What it answered with may still be
        unreadable, unless that is nothing.
        """
        for where, complaint in tuple(self._unreadable.items()):
            well = fetches.answered(where) != complaint.answered
            if well and (complaint.why.refused or not fetches.has_data(where)):
                # A broker may have left it out for once: no reason to count its failures anew.
                del self._unreadable[where]

    def forget_partitions(self) -> None:
        self._unreadable.clear()
        self.tries.forget()

    def current(self) -> Explanation | None:
        """What is wrong now. A partition's complaint outlives its rest, until it is read."""
        if self._of_group is not None and self._of_group.until > self._clock.now():
            return self._of_group.why
        of_partitions = (
            rest.why
            for where, rest in self._unreadable.items()
            if where.topic not in self.optional or not rest.why.refused
        )
        return next(of_partitions, None)


class Fetches(Protocol):
    """What is known of fetches; see `Member`."""

    def answered(self, where: TopicPartition) -> int | None: ...

    def has_data(self, where: TopicPartition) -> bool: ...


class _Unreadable(NamedTuple):
    """Rests until then; before it a fetch was last answered well at `answered`."""

    until: float
    why: Explanation
    answered: int | None


class _Complaint(NamedTuple):
    """Holds until then."""

    until: float
    why: Explanation
