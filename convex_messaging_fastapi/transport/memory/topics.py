"""Topics of the memory broker: one list of records a partition, kept for as long as the broker lives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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


class Found(NamedTuple):
    """Records of one partition, and where to read on: what is passed over holds none any more."""

    records: list[Record]
    position: int


class Topic:
    """The logs of one topic, as they are read.

    An offset is *open* while the transaction that wrote it is; a log ends, for its readers, at the first of
    these. One that is *gone* belongs to an aborted transaction, or to a record of a compacted topic that
    has a later one of its key.
    """

    def __init__(
        self,
        name: str,
        partitions: int,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        *,
        compacted: bool = False,
    ) -> None:
        self.name = name
        self.max_message_bytes = max_message_bytes
        self.compacted = compacted
        self.logs: tuple[list[Record], ...] = tuple([] for _ in range(partitions))
        self.written: list[Record] = []
        """Every record of every partition that is there for its readers, in the order that it came."""
        self._open: tuple[set[int], ...] = tuple(set() for _ in range(partitions))
        self._gone: tuple[set[int], ...] = tuple(set() for _ in range(partitions))
        self._latest: tuple[dict[bytes | None, int], ...] = tuple({} for _ in range(partitions))

    def end_offsets(self) -> tuple[int, ...]:
        return tuple(min(open, default=len(log)) for log, open in zip(self.logs, self._open, strict=True))

    def read(self, partition: int, offset: int, limit: int) -> Found:
        log, gone, end = self.logs[partition], self._gone[partition], self.end_offsets()[partition]
        if not gone:
            records = log[offset : min(offset + limit, end)]
            return Found(records, offset + len(records))
        records = []
        while offset < end and len(records) < limit:
            if offset not in gone:
                records.append(log[offset])
            offset += 1
        return Found(records, offset)

    def takes(self, record: OutgoingRecord) -> bool:
        return record.key is not None or not self.compacted

    def append(
        self, partition: int, records: Sequence[OutgoingRecord], timestamp_ms: int, *, open: bool = False
    ) -> Written | None:
        """Write the leading records that together fit one message's limit; `None` if not even one does."""
        log = self.logs[partition]
        base_offset, room = len(log), self.max_message_bytes
        for record in records:
            room -= size_of(record)
            if room < 0:
                break
            headers = kept_headers(record.headers)
            log.append(
                Record(self.name, partition, len(log), timestamp_ms, record.key, record.value, headers)
            )
        offsets = range(base_offset, len(log))
        self._open[partition].update(offsets)
        if not open:
            self.close(partition, offsets, committed=True)
        return Written(len(offsets), base_offset, timestamp_ms) if offsets else None

    def close(self, partition: int, offsets: Iterable[int], *, committed: bool) -> None:
        """The transaction that wrote these is over."""
        log, gone, latest = self.logs[partition], self._gone[partition], self._latest[partition]
        for offset in offsets:
            self._open[partition].discard(offset)
            if not committed:
                gone.add(offset)
                continue
            record = log[offset]
            self.written.append(record)
            if self.compacted:
                if record.key in latest:
                    gone.add(latest[record.key])
                latest[record.key] = offset


def is_name(name: str) -> bool:
    """Whether Kafka would take this for a topic's name, so that tests in memory find what it refuses."""
    return _NAME.fullmatch(name) is not None and name not in (".", "..")
