"""The consumer: one member of one group."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.consumer.consumer import KafkaConsumer
from convex_messaging_fastapi.transport.kafka.consumer.groups import KafkaGroups
from convex_messaging_fastapi.transport.kafka.consumer.instance_id import InstanceId
from convex_messaging_fastapi.transport.kafka.consumer.terms import Terms

__all__ = ["InstanceId", "KafkaConsumer", "KafkaGroups", "Terms"]
