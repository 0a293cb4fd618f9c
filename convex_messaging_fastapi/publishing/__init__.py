"""Brings outgoing records to the log: partition by partition, in order, each with one outcome."""

from convex_messaging_fastapi.publishing.partitioner import Partitioner, PartitionerName
from convex_messaging_fastapi.publishing.publisher import Publisher

__all__ = ["Partitioner", "PartitionerName", "Publisher"]
