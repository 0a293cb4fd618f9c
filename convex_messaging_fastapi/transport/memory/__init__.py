"""Kafka's semantics without Kafka: a broker in this process's memory, for tests and first steps."""

from __future__ import annotations

from convex_messaging_fastapi.transport.memory.broker import MemoryBroker, shared_broker
from convex_messaging_fastapi.transport.memory.transport import MemoryTransport

__all__ = ["MemoryBroker", "MemoryTransport", "shared_broker"]
