"""The offsets that a group has stored, as its coordinator tells them; one attempt a call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from aiokafka.client import CoordinationType
from aiokafka.errors import NoError, UnknownTopicOrPartitionError
from aiokafka.protocol.commit import OffsetFetchRequest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine.codes import for_code
from convex_messaging_fastapi.transport.kafka.engine.connections import Client

UNKNOWN_OFFSET = -1


async def stored_for(coordinator: Any, wanted: Collection[TopicPartition]) -> dict[TopicPartition, Position]:
    """The stored offsets of a member's own group; partitions without a commit are left out.

    Raises `KafkaError`, also for a partition that the coordinator does not know *yet*: the engine itself
    takes that for a partition without a commit, and starts at its end.
    """
    by_topic = defaultdict(list)
    for topic, partition in wanted:
        by_topic[topic].append(partition)
    await coordinator.ensure_coordinator_known()
    answer = await coordinator._send_req(OffsetFetchRequest(coordinator.group_id, list(by_topic.items())))
    return dict(_stored(answer, partial(_refuse, coordinator)))


async def stored_by(client: Client, group: str) -> dict[TopicPartition, Position]:
    """All stored offsets of any group. Raises `KafkaError`."""
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    return dict(_stored(await client.send(node, OffsetFetchRequest(group, None)), _raise))


def _stored(answer: Any, look: Callable[[int], None]) -> Iterable[tuple[TopicPartition, Position]]:
    look(getattr(answer, "error_code", 0))
    for topic, partitions in answer.topics or ():
        for partition, offset, metadata, code in partitions:
            look(code)
            if offset != UNKNOWN_OFFSET:
                yield TopicPartition(topic, partition), Position(offset, metadata or "")


def _raise(code: int) -> None:
    if (error := for_code(code)) is not NoError:
        raise error()


def _refuse(coordinator: Any, code: int) -> None:
    error = for_code(code)
    # Any other answer than these comes from a broker that is not, or not yet, the coordinator.
    if error is not NoError and error.retriable and error is not UnknownTopicOrPartitionError:
        coordinator.coordinator_dead()
    _raise(code)
