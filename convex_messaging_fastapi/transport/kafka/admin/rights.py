"""What these credentials may do, as brokers tell it: Kafka 2.3 and later, in answers about topics and groups.

Nobody needs a right of their own to ask. Rights on a topic that one may not even describe are not told.
"""

from __future__ import annotations

from typing import Any

from aiokafka.client import CoordinationType
from aiokafka.errors import NoError
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request
from aiokafka.protocol.transaction import InitProducerIdRequest

from convex_messaging_fastapi.transport.kafka.admin.seen import SeenGroup
from convex_messaging_fastapi.transport.kafka.engine import Client, for_code

_OPERATIONS = {
    3: "READ",
    4: "WRITE",
    5: "CREATE",
    6: "DELETE",
    7: "ALTER",
    8: "DESCRIBE",
    10: "DESCRIBE_CONFIGS",
    11: "ALTER_CONFIGS",
    12: "IDEMPOTENT_WRITE",
}
_NOT_TOLD = -(2**31)
_SHORTEST_MS = 1000


def rights_in(bits: int | None) -> frozenset[str] | None:
    """The names of the operations in a broker's answer; `None` where it tells none."""
    if bits is None or bits == _NOT_TOLD:
        return None
    return frozenset(name for number, name in _OPERATIONS.items() if bits & (1 << number))


class _Question(DescribeGroupsRequest_v3):  # type: ignore[misc]
    """The engine reads its answer as that of the version before, which has no rights in it."""

    RESPONSE_TYPE = DescribeGroupsResponse_v3


class _Describing(Request[_Question]):  # type: ignore[misc]
    API_KEY = _Question.API_KEY

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([self._group], True)


async def group_seen(client: Client, group: str) -> SeenGroup:
    """Raises `KafkaError`."""
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    answer = await client.send(node, _Describing(group))
    (told,) = answer.to_object()["groups"]
    if (error := for_code(told["error_code"])) is not NoError:
        raise error(group)
    hosts = tuple(member["client_host"].lstrip("/") for member in told["members"])
    return SeenGroup(group, told["state"], hosts, rights_in(told.get("authorized_operations")))


async def claim_transactions(client: Client, id: str) -> None:
    """Whoever writes in transactions of this id is fenced. Raises `KafkaError` where nothing may be."""
    node = await client.coordinator_lookup(CoordinationType.TRANSACTION, id)
    answer: Any = await client.send(node, InitProducerIdRequest(id, _SHORTEST_MS))
    if (error := for_code(answer.error_code)) is not NoError:
        raise error(id)
