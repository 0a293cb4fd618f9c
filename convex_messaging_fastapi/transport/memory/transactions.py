"""Transactions of the memory broker as a state machine without I/O: who owns an id, and what is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.memory.topics import Topic
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted


class Owner(NamedTuple):
    """Who claimed an id, in one of its epochs; transactions of his may be open for so many seconds."""

    id: str
    epoch: int
    timeout_seconds: float


@dataclass(slots=True)
class Open:
    """One transaction under way, and what it wrote."""

    ends_at: float
    written: list[tuple[TopicPartition, range]] = field(default_factory=list)


class Transactions:
    """`topics` is the broker's own."""

    def __init__(self, topics: Mapping[str, Topic]) -> None:
        self._topics = topics
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Open] = {}

    def claim(self, id: str) -> int:
        self._close(id, committed=False)
        self._epochs[id] = self._epochs.get(id, 0) + 1
        return self._epochs[id]

    def begin(self, owner: Owner, now: float) -> None:
        self._check(owner)
        if owner.id not in self._open:
            self._open[owner.id] = Open(now + owner.timeout_seconds)

    def wrote(self, owner: Owner, where: TopicPartition, offsets: range) -> None:
        self._open[owner.id].written.append((where, offsets))

    def end(self, owner: Owner, *, commit: bool) -> None:
        self._check(owner)
        self._close(owner.id, committed=commit)

    def expire(self, now: float) -> bool:
        """Abort what is open for too long, and fence its owner; whether there was any."""
        late = [id for id, open in self._open.items() if now >= open.ends_at]
        for id in late:
            self.claim(id)
        return bool(late)

    def _check(self, owner: Owner) -> None:
        if self._epochs.get(owner.id) != owner.epoch:
            raise NotCommitted(Fate.FENCED, "another has claimed the transactional id, or it timed out")

    def _close(self, id: str, *, committed: bool) -> None:
        open = self._open.pop(id, None)
        for where, offsets in open.written if open is not None else ():
            self._topics[where.topic].close(where.partition, offsets, committed=committed)
