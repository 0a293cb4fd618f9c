"""What only the memory broker's logs can show; what reading promises is in `tests/promises`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import LogRange
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport
from convex_messaging_fastapi.transport.memory.log_reader import MemoryLogReader


@pytest.mark.parametrize(
    "call",
    [
        lambda reader: reader.ranges("orders"),
        lambda reader: anext(reader.read({TopicPartition("orders", 0): LogRange(0, 1)})),
        lambda reader: reader.committed("billing"),
    ],
    ids=["ranges", "read", "committed"],
)
async def test_while_the_broker_is_down_nothing_is_read(
    call: Callable[[MemoryLogReader], Awaitable[object]],
) -> None:
    broker = MemoryBroker(ManualClock())
    reader = MemoryTransport(broker).log_reader()
    broker.down()
    with pytest.raises(TransportError, match="the memory broker is down"):
        await call(reader)
