"""Who belongs to a group, and which groups there are; one attempt a call."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.client import CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import NoError
from aiokafka.protocol.admin import (
    DescribeGroupsRequest_v0,
    DescribeGroupsRequest_v1,
    DescribeGroupsRequest_v2,
    ListGroupsRequest,
)
from aiokafka.protocol.api import Request

from convex_messaging_fastapi.transport.base import GroupDescription, GroupMember
from convex_messaging_fastapi.transport.kafka.engine.codes import for_code
from convex_messaging_fastapi.transport.kafka.engine.connections import Client


class _Question(
    Request[DescribeGroupsRequest_v0 | DescribeGroupsRequest_v1 | DescribeGroupsRequest_v2]  # type: ignore[misc]
):
    """The engine's own asks a newer version, and reads the answer as an older one."""

    API_KEY = DescribeGroupsRequest_v0.API_KEY

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class([self._group])


async def described(client: Client, group: str) -> GroupDescription:
    """Raises `KafkaError`."""
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    answer = await client.send(node, _Question(group))
    (code, _, state, _, _, members) = answer.groups[0]
    _raise(code)
    return GroupDescription(
        state,
        tuple(
            GroupMember(name, host.removeprefix("/"), _topics(metadata))
            for _, name, host, metadata, _ in members
        ),
    )


async def listed(client: Client) -> frozenset[str]:
    """Each broker knows the groups that it takes care of. Raises `KafkaError` where one does not answer."""
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    answers = await asyncio.gather(*(client.send(node, ListGroupsRequest()) for node in nodes))
    for answer in answers:
        _raise(answer.error_code)
    return frozenset(name for answer in answers for name, _ in answer.groups)


def _topics(metadata: bytes) -> frozenset[str]:
    """What a member subscribes to, in the words of the consumers' protocol; others have none."""
    try:
        return frozenset(ConsumerProtocolMemberMetadata.decode(metadata).subscription)
    except (ValueError, TypeError, UnicodeDecodeError):
        return frozenset()


def _raise(code: int) -> None:
    if (error := for_code(code)) is not NoError:
        raise error()
