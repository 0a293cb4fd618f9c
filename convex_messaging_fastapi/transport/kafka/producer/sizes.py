"""Sizes that topics have refused, so that what is as large is not sent to them again and again."""

from __future__ import annotations

from typing import NamedTuple

from convex_messaging_fastapi.transport.kafka.engine import TopicId

REMEMBERED_SECONDS = 60.0
"""How long a refusal is believed; the topic's limit may be raised meanwhile."""

WORTH_REMEMBERING = 64 * 1024
"""A smaller record is sent again: its refusal costs next to nothing, and a raised limit counts at once."""


class _Refusal(NamedTuple):
    size: int
    until: float
    topic: TopicId | None

    def holds(self, now: float, topic: TopicId | None) -> bool:
        return now < self.until and not (topic is not None and topic.is_not(self.topic))


class Sizes:
    """Of each topic, the smallest large record and the smallest batch of several that it refused lately.

    Topics are told apart by their ids, where brokers tell them; times are on the clock.
    """

    def __init__(self) -> None:
        self._records: dict[str, _Refusal] = {}
        self._batches: dict[str, _Refusal] = {}

    def refuse_record(self, name: str, topic: TopicId | None, size: int, now: float) -> None:
        if size >= WORTH_REMEMBERING:
            _remember(self._records, name, topic, size, now)

    def refuse_batch(self, name: str, topic: TopicId | None, size: int, now: float) -> None:
        """A batch was refused, which tells nothing of its records."""
        _remember(self._batches, name, topic, size, now)

    def refused(self, name: str, topic: TopicId | None, now: float) -> int | None:
        """The smallest size in bytes that the topic is known to refuse; `None` if none is known."""
        return _recall(self._records, name, topic, now) if self._records else None

    def batch(self, name: str, topic: TopicId | None, now: float, usual: int) -> int:
        """How many bytes a batch of several may have."""
        refused = _recall(self._batches, name, topic, now) if self._batches else None
        return usual if refused is None else max(1, min(usual, refused // 2))


def _remember(refusals: dict[str, _Refusal], name: str, topic: TopicId | None, size: int, now: float) -> None:
    known = _recall(refusals, name, topic, now)
    smallest = size if known is None else min(known, size)
    refusals[name] = _Refusal(smallest, now + REMEMBERED_SECONDS, topic)


def _recall(refusals: dict[str, _Refusal], name: str, topic: TopicId | None, now: float) -> int | None:
    refusal = refusals.get(name)
    if refusal is None:
        return None
    if refusal.holds(now, topic):
        return refusal.size
    del refusals[name]
    return None
