"""The producer: the way to the log."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.producer.producer import KafkaProducer

__all__ = ["KafkaProducer"]
