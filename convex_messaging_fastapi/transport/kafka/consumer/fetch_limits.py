"""How many records to take of a partition, so that an unreadable batch does not hide those before it."""

from __future__ import annotations

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.engine import Span


class FetchLimits:
    """The engine drops what a call has read when it cannot read on, so a call must end before the batch."""

    def __init__(self) -> None:
        self._limits: dict[TopicPartition, int] = {}

    def of(self, where: TopicPartition, limit: int) -> int:
        return min(limit, self._limits.get(where, limit))

    def fewer(self, where: TopicPartition, position: int, unreadable: Span | None) -> bool:
        """Whether records may stand between `position` and the unreadable batch; they are taken next."""
        tried = self._limits.get(where)
        if unreadable is None or unreadable.first is None or unreadable.first <= position or tried == 1:
            return False
        # Where offsets are missing, there are fewer records than it seems.
        self._limits[where] = unreadable.first - position if tried is None else tried // 2
        return True

    def taken(self, where: TopicPartition) -> None:
        """What was asked for could be read."""
        self._limits.pop(where, None)
