"""What is asked of a cluster as such: topics made for the bus, and looked at for whoever operates it."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.admin.inspector import Inspector
from convex_messaging_fastapi.transport.kafka.admin.knocking import knock
from convex_messaging_fastapi.transport.kafka.admin.seen import (
    Knock,
    SeenBroker,
    SeenCluster,
    SeenGroup,
    SeenPartition,
    SeenTopic,
)
from convex_messaging_fastapi.transport.kafka.admin.topics import KafkaAdmin

__all__ = [
    "Inspector",
    "KafkaAdmin",
    "Knock",
    "SeenBroker",
    "SeenCluster",
    "SeenGroup",
    "SeenPartition",
    "SeenTopic",
    "knock",
]
