"""Notices a partition that stands still although its log goes on and brokers answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.engine import Member


@dataclass(slots=True)
class _Seen:
    offset: int
    answered: int | None
    since: float


class Progress:
    """Remembers when each wanted partition last moved."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._seen: dict[TopicPartition, _Seen] = {}

    def stuck(
        self, member: Member, at: Mapping[TopicPartition, int], wanted: Iterable[TopicPartition], now: float
    ) -> TopicPartition | None:
        """One of `wanted` that has stood still for too long; `at` has our own next offsets."""
        wanted = [where for where in wanted if where in at]
        self._seen = {where: self._look(member, where, at[where], now) for where in wanted}
        overdue = (where for where, seen in self._seen.items() if now - seen.since > self._patience)
        return next((where for where in overdue if member.is_led(where)), None)

    def _look(self, member: Member, where: TopicPartition, offset: int, now: float) -> _Seen:
        before = self._seen.get(where)
        answered, end = member.answered(where), member.end_seen(where)
        moved = before is None or offset != before.offset
        at_end = before is not None and answered != before.answered and end is not None and end <= offset
        if moved or at_end or before is None or member.has_data(where):
            return _Seen(offset, answered, now)
        return _Seen(offset, answered, before.since)
