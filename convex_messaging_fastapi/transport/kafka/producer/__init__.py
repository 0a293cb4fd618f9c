"""The ways to the log: the producer, and another for transactions."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.producer.producer import KafkaProducer
from convex_messaging_fastapi.transport.kafka.producer.transactional import KafkaTransactional

__all__ = ["KafkaProducer", "KafkaTransactional"]
