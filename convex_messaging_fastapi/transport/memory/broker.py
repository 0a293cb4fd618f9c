"""An in-process broker: topics, groups, and the switches by which tests make it fail.

What it does not do: it keeps nothing on disk, forgets nothing while it lives, and has no
transactions. Everything goes through one lock, since buses that share a broker may run in threads
of their own.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition, size_of
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, NewTopic, Position, Sent, Verdict
from convex_messaging_fastapi.transport.memory.bell import Bell
from convex_messaging_fastapi.transport.memory.groups import Group
from convex_messaging_fastapi.transport.memory.topics import MAX_MESSAGE_BYTES, Topic, is_name

DEFAULT_PARTITIONS = 4


class MemoryBroker:
    """Topics come into being when first used, with `default_partitions` each."""

    def __init__(self, clock: Clock, default_partitions: int = DEFAULT_PARTITIONS) -> None:
        self.clock = clock
        self._default_partitions = default_partitions
        self._lock = threading.RLock()
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}
        self._bells: set[Bell] = set()
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
                self._topics[wanted.name] = Topic(wanted.name, partitions, limit)
                for group in self._groups.values():
                    group.topic_made(wanted.name, self.clock.now())
                self.ring()
            return self._topics[wanted.name]

    def append(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        with self._lock:
            topic = self.ensure(NewTopic(where.topic))
            if self._refusals[where.topic] > 0:
                self._refusals[where.topic] -= 1
                return Sent(len(records), Verdict.FAILED, reason="the memory broker was told to refuse")
            if where.partition >= len(topic.logs):
                return Sent(1, Verdict.REFUSED, reason=f"the topic has {len(topic.logs)} partitions")
            written = topic.append(where.partition, records, int(self.clock.unix() * 1000))
            if written is None:
                return Sent(1, Verdict.TOO_LARGE, reason=_too_large(records[0], topic))
            self.ring()
            return Sent(written.taken, Verdict.WRITTEN, written.base_offset, written.timestamp_ms)

    def read(
        self, wanted: Mapping[TopicPartition, tuple[int, int]]
    ) -> tuple[dict[TopicPartition, list[Record]], dict[TopicPartition, int]]:
        """Of each partition, from an offset on, at most so many records; only those that have any.

        And where the logs of these end.
        """
        found: dict[TopicPartition, list[Record]] = {}
        ends: dict[TopicPartition, int] = {}
        count = 0
        with self._lock:
            for where, (offset, limit) in wanted.items():
                if records := self._topics[where.topic].read(where.partition, offset, limit):
                    found[where] = records
                    ends[where] = self._topics[where.topic].end_offsets()[where.partition]
                    count += len(records)
                if count >= ENOUGH_RECORDS:
                    break
        return found, ends

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
