"""What the tests of the memory transport hold: a listener that remembers, and turns of the loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.testing import until_idle
from convex_messaging_fastapi.transport.base import Position, ProducerTransport, Sent
from convex_messaging_fastapi.transport.memory import MemoryTransport

NOTHING: Mapping[TopicPartition, int] = {}


class Listener:
    """Remembers what it was told; `on_revoked` runs inside a revocation."""

    def __init__(self) -> None:
        self.assignments: list[tuple[int, dict[TopicPartition, Position]]] = []
        self.revocations: list[tuple[int, float]] = []
        self.on_revoked: Callable[[], Awaitable[object]] | None = None

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        self.assignments.append((epoch, dict(positions)))

    async def revoked(self, epoch: int, deadline: float) -> None:
        self.revocations.append((epoch, deadline))
        if self.on_revoked is not None:
            await self.on_revoked()


async def turns(count: int = 20) -> None:
    """Let everything go on that waits for nothing but its turn."""
    await until_idle(count)


async def started(transport: MemoryTransport) -> ProducerTransport:
    producer = transport.producer()
    await producer.start()
    return producer


async def write(transport: MemoryTransport, topic: str, partition: int, *values: bytes) -> Sent:
    producer = await started(transport)
    return await producer.send(TopicPartition(topic, partition), [OutgoingRecord(None, v) for v in values])
