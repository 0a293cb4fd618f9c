"""Topics of the memory broker: one list of records a partition, kept for as long as the broker lives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from convex_messaging_fastapi.records import OutgoingRecord, Record, kept_headers, size_of

MAX_MESSAGE_BYTES = 1024 * 1024
"""What a topic takes unless its `max.message.bytes` says otherwise: key, value and headers together."""

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class Written(NamedTuple):
    """Where the first `taken` of the records handed over landed."""

    taken: int
    base_offset: int
    timestamp_ms: int


class Topic:
    """The logs of one topic, as they are read."""

    def __init__(self, name: str, partitions: int, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.name = name
        self.max_message_bytes = max_message_bytes
        self.logs: tuple[list[Record], ...] = tuple([] for _ in range(partitions))
        self.written: list[Record] = []
        """Every record of every partition, in the order written."""

    def end_offsets(self) -> tuple[int, ...]:
        return tuple(len(log) for log in self.logs)

    def read(self, partition: int, offset: int, limit: int) -> list[Record]:
        return self.logs[partition][offset : offset + limit]

    def append(self, partition: int, records: Sequence[OutgoingRecord], timestamp_ms: int) -> Written | None:
        """Write the leading records that together fit one message's limit; `None` if not even one does."""
        log = self.logs[partition]
        base_offset, room = len(log), self.max_message_bytes
        for record in records:
            room -= size_of(record)
            if room < 0:
                break
            headers = kept_headers(record.headers)
            stored = Record(self.name, partition, len(log), timestamp_ms, record.key, record.value, headers)
            log.append(stored)
            self.written.append(stored)
        taken = len(log) - base_offset
        return Written(taken, base_offset, timestamp_ms) if taken else None


def is_name(name: str) -> bool:
    """Whether Kafka would take this for a topic's name, so that tests in memory find what it refuses."""
    return _NAME.fullmatch(name) is not None and name not in (".", "..")
