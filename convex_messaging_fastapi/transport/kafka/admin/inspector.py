"""Looks at a cluster for whoever operates it, on connections that are open meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

from aiokafka.errors import (
    KafkaError,
    NoError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.status import Problem
from convex_messaging_fastapi.transport.kafka.admin.rights import (
    claim_transactions,
    group_seen,
    rights_in,
)
from convex_messaging_fastapi.transport.kafka.admin.seen import (
    SeenBroker,
    SeenCluster,
    SeenGroup,
    SeenPartition,
    SeenTopic,
)
from convex_messaging_fastapi.transport.kafka.engine import Client, IdentifyingRequest, for_code
from convex_messaging_fastapi.transport.kafka.recovery import explain_membership

_NO_LEADER = -1
_A_TOPIC = 2


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

    async def cluster(self, topics: Collection[str] | None = None) -> SeenCluster:
        """The brokers, and these topics; without a word all that the credentials may see."""
        asked = MetadataRequest(None if topics is None else sorted(topics))
        with _telling():
            answer = await self._client.send(
                self._client.get_random_node(), IdentifyingRequest(asked, rights=True)
            )
        told = answer.to_object()
        rights: Mapping[str, int] = getattr(answer, "rights", {})
        refused = {each["topic"]: for_code(each["error_code"]) for each in told["topics"]}
        there = [each for each in told["topics"] if each["partitions"] or refused[each["topic"]] is NoError]
        seen = sorted((_topic(each, rights) for each in there), key=lambda topic: topic.name)
        return SeenCluster(
            id=told.get("cluster_id") or "",
            brokers=tuple(
                SeenBroker(each["node_id"], each["host"], each["port"]) for each in told["brokers"]
            ),
            topics=tuple(seen),
            forbidden=frozenset(
                name for name, error in refused.items() if error is TopicAuthorizationFailedError
            ),
            rights=rights_in(getattr(answer, "rights_on_cluster", None)),
        )

    async def configs(self, topics: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        """The configuration of each of these topics; one that may not be described is left out."""
        if not topics:
            return {}
        question = DescribeConfigsRequest([(_A_TOPIC, topic, None) for topic in sorted(topics)])
        with _telling():
            answer = await self._client.send(self._client.get_random_node(), question)
        return {
            told["resource_name"]: {
                entry["config_names"]: entry["config_value"] for entry in told["config_entries"]
            }
            for told in answer.to_object()["resources"]
            if for_code(told["error_code"]) is NoError
        }

    async def group(self, name: str) -> SeenGroup:
        """Who belongs to a group now."""
        with _telling(group=name):
            return await group_seen(self._client, name)

    async def claim_transactions(self, id: str) -> None:
        """Do nothing more if something may be written in transactions of this id. Fences who uses it."""
        with _telling():
            try:
                await claim_transactions(self._client, id)
            except TransactionalIdAuthorizationFailed as error:
                lacks = f"these credentials lack WRITE on transactional id {id}"
                raise TransportError(lacks, Problem.NOT_AUTHORIZED.value) from error


def _topic(told: dict[str, Any], rights: Mapping[str, int]) -> SeenTopic:
    partitions = sorted(map(_partition, told["partitions"]), key=lambda partition: partition.id)
    name = told["topic"]
    return SeenTopic(name, bool(told.get("is_internal")), tuple(partitions), rights_in(rights.get(name)))


def _partition(told: dict[str, Any]) -> SeenPartition:
    leader = None if told["leader"] == _NO_LEADER else told["leader"]
    return SeenPartition(told["partition"], leader, tuple(told["replicas"]), tuple(told["isr"]))


@contextmanager
def _telling(*, group: str = "") -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        why = explain_membership(error, group)
        raise TransportError(why.detail, why.problem.value) from error
