"""An in-process broker: topics, groups, and the switches by which tests make it fail.

What it does not do: it keeps nothing on disk, and forgets nothing while it lives but what a compacted
topic has a later record for. Everything goes through one lock, since buses that share a broker may run
in threads of their own.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition, size_of
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, NewTopic, Position, Sent, Verdict
from convex_messaging_fastapi.transport.memory.bell import Bell
from convex_messaging_fastapi.transport.memory.groups import Group
from convex_messaging_fastapi.transport.memory.topics import MAX_MESSAGE_BYTES, Topic, is_name
from convex_messaging_fastapi.transport.memory.transactions import Owner, Transactions

DEFAULT_PARTITIONS = 4


class Read(NamedTuple):
    """Of each partition that has any: records, where to read on, and where its log ends."""

    records: dict[TopicPartition, list[Record]]
    positions: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]


class MemoryBroker:
    """Topics come into being when first used, with `default_partitions` each."""

    def __init__(self, clock: Clock, default_partitions: int = DEFAULT_PARTITIONS) -> None:
        self.clock = clock
        self._default_partitions = default_partitions
        self._lock = threading.RLock()
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}
        self._bells: set[Bell] = set()
        self._transactions = Transactions(self._topics)
        self._refusals: Counter[str] = Counter()
        self._down_since: float | None = None

    # What tests look at.

    def records(self, topic: str) -> list[Record]:
        """Every record of a topic, in the order written."""
        with self._lock:
            return list(self._topics[topic].written) if topic in self._topics else []

    def end_offsets(self, topic: str) -> tuple[int, ...]:
        """The next offset of each partition; empty where there is no such topic."""
        with self._lock:
            self._expire()
            return self._topics[topic].end_offsets() if topic in self._topics else ()

    def committed(self, group: str) -> dict[TopicPartition, Position]:
        """What a group has committed so far."""
        with self._lock:
            return dict(self._groups[group].offsets) if group in self._groups else {}

    def idle(self, group: str) -> bool:
        """Whether a group has no rebalance under way and has committed all that its members read."""
        with self._lock:
            return group not in self._groups or self._groups[group].idle()

    def largest_message(self, topic: str) -> int | None:
        """The bytes of the largest message that a topic takes; `None` where there is no such topic."""
        with self._lock:
            return self._topics[topic].max_message_bytes if topic in self._topics else None

    # What tests turn.

    def down(self) -> None:
        """Be out of reach: fetches bring nothing, sends wait, commits fail."""
        with self._lock:
            self._down_since = self.clock.now()
            self.ring()

    def up(self) -> None:
        """Be back, with everything as it was."""
        with self._lock:
            self._down_since = None
            self.ring()

    def refuse(self, topic: str, times: int) -> None:
        """Let so many sends to a topic fail, with nothing written."""
        with self._lock:
            self._refusals[topic] += times

    # What transports use.

    @property
    def is_down(self) -> bool:
        return self._down_since is not None

    def last_contact(self) -> float:
        """When the broker was last within reach."""
        since = self._down_since
        return self.clock.now() if since is None else since

    def ensure(self, wanted: NewTopic) -> Topic:
        """The topic, made if it is not there. Raises `TopicUnavailable` for what is no name."""
        if not is_name(wanted.name):
            raise TopicUnavailable(
                f"topic {wanted.name!r} cannot be used: Kafka takes no such name for a topic",
                "choose another name",
            )
        with self._lock:
            if wanted.name not in self._topics:
                limit = int(wanted.config.get("max.message.bytes", MAX_MESSAGE_BYTES))
                partitions = wanted.partitions or self._default_partitions
                compacted = "compact" in wanted.config.get("cleanup.policy", "")
                self._topics[wanted.name] = Topic(wanted.name, partitions, limit, compacted=compacted)
                for group in self._groups.values():
                    group.topic_made(wanted.name, self.clock.now())
                self.ring()
            return self._topics[wanted.name]

    def append(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        with self._lock:
            return self._append(where, records)

    def _append(
        self, where: TopicPartition, records: Sequence[OutgoingRecord], *, open: bool = False
    ) -> Sent:
        topic = self.ensure(NewTopic(where.topic))
        if self._refusals[where.topic] > 0:
            self._refusals[where.topic] -= 1
            return Sent(len(records), Verdict.FAILED, reason="the memory broker was told to refuse")
        if where.partition >= len(topic.logs):
            return Sent(1, Verdict.REFUSED, reason=f"the topic has {len(topic.logs)} partitions")
        if not all(topic.takes(record) for record in records):
            return Sent(1, Verdict.REFUSED, reason="a compacted topic takes no record without a key")
        written = topic.append(where.partition, records, int(self.clock.unix() * 1000), open=open)
        if written is None:
            return Sent(1, Verdict.TOO_LARGE, reason=_too_large(records[0], topic))
        self.ring()
        return Sent(written.taken, Verdict.WRITTEN, written.base_offset, written.timestamp_ms)

    def claim(self, id: str) -> int:
        """A new epoch of a transactional id; what is open under it is aborted."""
        with self._lock:
            self.ring()
            return self._transactions.claim(id)

    def write(self, owner: Owner, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        """As `append`, in the transaction of that owner, which begins with it. Raises `NotCommitted`."""
        with self._lock:
            self._expire()
            self._transactions.begin(owner, self.clock.now())
            sent = self._append(where, records, open=True)
            if sent.verdict is Verdict.WRITTEN:
                self._transactions.wrote(owner, where, range(sent.base_offset, sent.base_offset + sent.taken))
            return sent

    def end(self, owner: Owner, *, commit: bool) -> None:
        """End the transaction of that owner. Raises `NotCommitted`."""
        with self._lock:
            self._expire()
            self._transactions.end(owner, commit=commit)
            self.ring()

    def _expire(self) -> None:
        if self._transactions.expire(self.clock.now()):
            self.ring()

    def read(self, wanted: Mapping[TopicPartition, tuple[int, int]]) -> Read:
        """Of each partition, from an offset on, at most so many records."""
        read = Read({}, {}, {})
        count = 0
        with self._lock:
            self._expire()
            for where, (offset, limit) in wanted.items():
                records, position = self._topics[where.topic].read(where.partition, offset, limit)
                if position > offset:
                    read.positions[where] = position
                if records:
                    read.records[where] = records
                    read.ends[where] = self._topics[where.topic].end_offsets()[where.partition]
                    count += len(records)
                if count >= ENOUGH_RECORDS:
                    break
        return read

    def group_names(self) -> list[str]:
        with self._lock:
            return list(self._groups)

    @contextmanager
    def group(self, name: str) -> Iterator[Group]:
        """One group, with nobody else at it meanwhile; so never await in there."""
        with self._lock:
            if name not in self._groups:
                self._groups[name] = Group(self._topics)
            group = self._groups[name]
            changes = group.changes
            yield group
            if group.changes > changes:
                self.ring()

    @contextmanager
    def bell(self) -> Iterator[Bell]:
        """Rings at every change while it hangs here."""
        bell = Bell()
        with self._lock:
            self._bells.add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells.discard(bell)

    def ring(self) -> None:
        with self._lock:
            self._bells = {bell for bell in self._bells if bell.ring()}


_shared: weakref.WeakValueDictionary[str, MemoryBroker] = weakref.WeakValueDictionary()
_sharing = threading.Lock()


def shared_broker(name: str, clock: Clock) -> MemoryBroker:
    """The broker that everybody in this process gets for this name.

    It lives for as long as somebody holds it (a bus does, from its start to its stop), and runs on
    the clock of whoever asked first.
    """
    with _sharing:
        broker = _shared.get(name)
        if broker is None:
            broker = _shared[name] = MemoryBroker(clock)
        return broker


def _too_large(record: OutgoingRecord, topic: Topic) -> str:
    return (
        f"{size_of(record)} bytes with key and headers are more than its max.message.bytes of "
        f"{topic.max_message_bytes}"
    )
