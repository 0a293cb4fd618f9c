"""Writes records to the log: in order within each partition, and each with exactly one outcome."""

from convex_messaging_fastapi.publishing.creating import CreatingProducer
from convex_messaging_fastapi.publishing.facade import Destination, Publishing, Verbs
from convex_messaging_fastapi.publishing.limits import PublishLimits
from convex_messaging_fastapi.publishing.partitioner import Partitioner, PartitionerName
from convex_messaging_fastapi.publishing.publisher import Publisher

__all__ = [
    "CreatingProducer",
    "Destination",
    "Partitioner",
    "PartitionerName",
    "PublishLimits",
    "Publisher",
    "Publishing",
    "Verbs",
]
