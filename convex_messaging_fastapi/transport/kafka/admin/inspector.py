"""Looks at a cluster for whoever operates it, on one connection that is open meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.transport.kafka.admin.seen import (
    SeenBroker,
    SeenCluster,
    SeenPartition,
    SeenTopic,
)
from convex_messaging_fastapi.transport.kafka.engine import Client
from convex_messaging_fastapi.transport.kafka.recovery import explain_membership

_NO_LEADER = -1


class Inspector:
    """Asks once and at once; nothing is retried. Every call raises `TransportError` that says why."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def on(cls, client: Client) -> AsyncIterator[Self]:
        """Connect `client`, and close it in the end."""
        try:
            with _telling():
                await client.bootstrap()
            yield cls(client)
        finally:
            await client.close()

    async def cluster(self) -> SeenCluster:
        """All that the credentials may see."""
        with _telling():
            answer = await self._client.send(self._client.get_random_node(), MetadataRequest(None))
        told = answer.to_object()
        topics = sorted(map(_topic, told["topics"]), key=lambda topic: topic.name)
        return SeenCluster(told.get("cluster_id") or "", tuple(map(_broker, told["brokers"])), tuple(topics))


def _broker(told: dict[str, Any]) -> SeenBroker:
    return SeenBroker(told["node_id"], told["host"], told["port"])


def _topic(told: dict[str, Any]) -> SeenTopic:
    partitions = sorted(map(_partition, told["partitions"]), key=lambda partition: partition.id)
    return SeenTopic(told["topic"], bool(told.get("is_internal")), tuple(partitions))


def _partition(told: dict[str, Any]) -> SeenPartition:
    leader = None if told["leader"] == _NO_LEADER else told["leader"]
    return SeenPartition(told["partition"], leader, tuple(told["replicas"]), tuple(told["isr"]))


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        why = explain_membership(error)
        raise TransportError(why.detail, why.problem.value) from error
