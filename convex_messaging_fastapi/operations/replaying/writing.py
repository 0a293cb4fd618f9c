"""What one transaction of an action writes: copies for whoever is to handle them, and then the states."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from convex_messaging_fastapi.messages.copies import ReplayMarks, copy_for_handler, copy_for_topic
from convex_messaging_fastapi.observability.tracing import trace_headers
from convex_messaging_fastapi.operations.replaying.choosing import Chosen, Kind, Terms, handler_of
from convex_messaging_fastapi.operations.states import Copy, changed, record_of
from convex_messaging_fastapi.operations.values import NOT_KNOWN, KeptState, Letter, StateChange
from convex_messaging_fastapi.publishing import Partitioner
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition, size_of

BECOMES: Mapping[Kind, KeptState] = {"replay": "replayed", "discard": "discarded", "reopen": "open"}

Written = Mapping[TopicPartition, Sequence[int]]
"""The offset of each record, as a transaction tells it."""


class Ready(NamedTuple):
    """A letter of one slice, and its copy where it is replayed, which `group` is to handle."""

    chosen: Chosen
    copy: OutgoingRecord | None = None
    where: TopicPartition | None = None
    group: str = NOT_KNOWN


@dataclass(frozen=True, slots=True)
class Address:
    """Where the copies of one group's letters go: its replay topic, or, where that is `None`, their own."""

    group: str
    topic: str | None
    partitions: Mapping[str, int]
    partitioner: Partitioner
    largest: Mapping[str, int] = field(default_factory=dict)
    """What each topic takes at most, in bytes, where that is known."""

    def is_too_small_for(self, ready: Ready) -> bool:
        """Whether the target certainly does not take this copy."""
        if ready.copy is None or ready.where is None:
            return False
        limit = self.largest.get(ready.where.topic)
        return limit is not None and size_of(ready.copy) > limit

    def of(self, original: Record) -> TopicPartition:
        """In its own topic a copy goes to its own partition, in another it goes by its key."""
        topic = self.topic or original.topic
        count = max(1, self.partitions.get(topic, 1))
        if self.topic is None or original.key is None:
            return TopicPartition(topic, original.partition % count)
        return TopicPartition(topic, self.partitioner.partition(original.key, count))


def ready(
    chosen: Chosen, letter: Letter, original: Record, terms: Terms, address: Address, job: str, by: str
) -> Ready:
    """The copy of one letter, and where it goes."""
    place = chosen.place
    trace = trace_headers().get("traceparent", "")
    of = f"{place.topic}/{place.partition}/{place.offset}"
    marks = ReplayMarks(letter.replay_count + 1, of, job, by, trace)
    if address.topic is None:
        copy = copy_for_topic(original, marks)
    else:
        copy = copy_for_handler(original, address.group, handler_of(letter, terms), marks)
    return Ready(chosen, copy, address.of(original), address.group)


def copies_of(slice: Iterable[Ready]) -> dict[TopicPartition, list[OutgoingRecord]]:
    copies: dict[TopicPartition, list[OutgoingRecord]] = defaultdict(list)
    for each in slice:
        if each.copy is not None and each.where is not None:
            copies[each.where].append(each.copy)
    return dict(copies)


@dataclass(frozen=True, slots=True)
class Change:
    """What is said in each state: who did it, when, why."""

    kind: Kind
    at: datetime
    by: str
    reason: str | None
    job: str

    def states(self, slice: Iterable[Ready], written: Written) -> list[OutgoingRecord]:
        """The states of a slice whose copies are written: each names its copy's place."""
        offsets = {where: iter(some) for where, some in written.items()}
        change = StateChange(BECOMES[self.kind], self.at, self.by, self.reason, self.job)
        states: list[OutgoingRecord] = []
        for chosen, copy, where, group in slice:
            landed = None
            if copy is not None and where is not None:
                landed = Copy(group, where.topic, where.partition, next(offsets[where]))
            states.append(record_of(changed(chosen.place, chosen.before, change, landed)))
        return states
