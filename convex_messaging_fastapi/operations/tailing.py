"""The newest records of a topic, and what came after them, without a group."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from heapq import nlargest

from convex_messaging_fastapi.errors import ConfigurationError, TopicUnavailable
from convex_messaging_fastapi.policies import shown
from convex_messaging_fastapi.records import Headers, Record, TopicPartition
from convex_messaging_fastapi.transport.base import LogRange, LogReader

MAX_RECORDS = 200
SHOWN_BYTES = 4096
"""Of a key and of a value: a tail is for looking, and holds little."""

MAX_HEADERS = 50

_CURSOR = re.compile(r"[0-9]{1,10}:[0-9]{1,19}(?:,[0-9]{1,10}:[0-9]{1,19})*")

Positions = Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TailedRecord:
    """One record. `key` and `value` are their first 4,096 bytes, `size` is that of the whole value."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    size: int
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Records, the oldest first. `next` is what `after` takes to go on behind them.

    `passed` is how many offsets were passed over, because more had come than are shown at once.
    """

    records: tuple[TailedRecord, ...]
    next: str
    passed: int = 0


class Tailing:
    """Reads the end of a topic's log."""

    def __init__(self, logs: LogReader) -> None:
        self._logs = logs

    async def tail(self, topic: str, after: str | None, limit: int) -> Tail:
        """See `Operations.tail`."""
        positions = _positions(after)
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_RECORDS:
            raise ConfigurationError(f"limit is a whole number from 1 to {MAX_RECORDS}, not {shown(limit)}")
        there = await self._logs.ranges(topic)
        if not there:
            raise TopicUnavailable(f"there is no topic {topic}", problem="topic_missing")
        wanted = {where: _span(where, span, positions, limit) for where, span in there.items()}
        passed = sum(_passed(where, there[where], span, positions) for where, span in wanted.items())
        found = await self._read(wanted, limit)
        kept = sorted(nlargest(limit, found, key=_newness), key=_newness)
        if positions is not None:
            passed += len(found) - len(kept)
        at = ",".join(f"{where.partition}:{span.end}" for where, span in sorted(there.items()))
        return Tail(records=tuple(kept), next=at, passed=passed)

    async def _read(self, wanted: Mapping[TopicPartition, LogRange], limit: int) -> list[TailedRecord]:
        """The newest of each partition, cut as soon as they are read."""
        found: dict[int, deque[TailedRecord]] = {}
        left = {where: span for where, span in wanted.items() if span.first < span.end}
        if not left:
            return []
        async with aclosing(self._logs.read(left)) as lists:
            async for records in lists:
                newest = found.setdefault(records[0].partition, deque(maxlen=limit))
                newest.extend(map(_cut, records))
        return [each for newest in found.values() for each in newest]


def _positions(after: str | None) -> Positions | None:
    if after is None:
        return None
    if not isinstance(after, str) or not _CURSOR.fullmatch(after):
        raise ConfigurationError(f"after is the `next` of the tail before, not {shown(after)}")
    pairs = (each.split(":") for each in after.split(","))
    return {int(partition): int(offset) for partition, offset in pairs}


def _span(where: TopicPartition, span: LogRange, positions: Positions | None, limit: int) -> LogRange:
    newest = max(span.first, span.end - limit)
    if positions is None:
        return LogRange(newest, span.end)
    return LogRange(min(max(newest, positions.get(where.partition, span.first)), span.end), span.end)


def _passed(where: TopicPartition, there: LogRange, span: LogRange, positions: Positions | None) -> int:
    if positions is None:
        return 0
    return max(0, span.first - max(positions.get(where.partition, there.first), there.first))


def _newness(record: TailedRecord) -> tuple[int, int, int]:
    return record.timestamp_ms, record.partition, record.offset


def _cut(record: Record) -> TailedRecord:
    value = record.value
    return TailedRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        key=None if record.key is None else record.key[:SHOWN_BYTES],
        value=None if value is None else value[:SHOWN_BYTES],
        size=len(value or b""),
        headers=tuple(record.headers[:MAX_HEADERS]),
    )
