"""A memory broker on a clock that only the test turns."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> MemoryBroker:
    return MemoryBroker(clock)


@pytest.fixture
def transport(broker: MemoryBroker) -> MemoryTransport:
    return MemoryTransport(broker, revoke_drain_seconds=5.0, session_seconds=30.0)
