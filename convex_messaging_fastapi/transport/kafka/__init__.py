"""Kafka, over aiokafka: the only rooms that know the engine."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.transport import KafkaTransport

__all__ = ["KafkaTransport"]
