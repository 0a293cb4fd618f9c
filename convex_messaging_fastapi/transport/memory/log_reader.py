"""Reads the memory broker's logs without a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, LogRange, Position
from convex_messaging_fastapi.transport.memory.broker import MemoryBroker


class MemoryLogReader:
    """Implements `LogReader`. Nothing is ever gone from the begin of a log."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def ranges(self, topic: str) -> Mapping[TopicPartition, LogRange]:
        self._reach()
        ends = self._broker.end_offsets(topic)
        return {TopicPartition(topic, partition): LogRange(0, end) for partition, end in enumerate(ends)}

    async def read(self, ranges: Mapping[TopicPartition, LogRange]) -> AsyncGenerator[Sequence[Record], None]:
        self._reach()
        for where, (offset, end) in ranges.items():
            while offset < end and where.partition < len(self._broker.end_offsets(where.topic)):
                self._reach()
                read = self._broker.read({where: (offset, min(ENOUGH_RECORDS, end - offset))})
                if where not in read.positions:
                    break
                offset = read.positions[where]
                if records := [record for record in read.records.get(where, ()) if record.offset < end]:
                    yield records
                await asyncio.sleep(0)  # a turn for others, or a long log would never let them run

    async def committed(self, group: str) -> Mapping[TopicPartition, Position]:
        self._reach()
        return self._broker.committed(group)

    def _reach(self) -> None:
        if self._broker.is_down:
            raise TransportError("the memory broker is down")
