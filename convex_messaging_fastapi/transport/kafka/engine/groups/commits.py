"""A commit as one request, and the answer to each of its partitions.

The engine has one, too: it raises the first error of any partition, though the rest may be stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    IllegalGenerationError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
    RequestTimedOutError,
    UnknownError,
    UnknownMemberIdError,
)
from aiokafka.protocol.commit import OffsetCommitRequest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine.codes import for_code

_ANOTHER_COORDINATOR = (
    GroupCoordinatorNotAvailableError,
    NotCoordinatorForGroupError,
    RequestTimedOutError,
)
_NO_MEMBER = (UnknownMemberIdError, IllegalGenerationError)


class Identity(NamedTuple):
    """Who a member is in its group: a commit is good only as long as neither has changed."""

    generation: int
    member_id: str


class NotStored(Exception):
    """A commit was not even sent: this member is no longer who it was when it was assigned."""


Unstored = Mapping[TopicPartition, KafkaError]


def identity_of(coordinator: Any) -> Identity:
    """Who the engine is in its group now."""
    return Identity(coordinator.generation, coordinator.member_id)


async def commit(coordinator: Any, offsets: Mapping[TopicPartition, Position], who: Identity) -> Unstored:
    """One attempt to store `offsets` in the name of `who`: why some were not; the others were.

    Raises `NotStored`, or `KafkaError` where no answer came.
    """
    # The engine's own `commit` tries for ever, each time in the name of whoever this member is by then:
    # it would land over its successor's. Nothing is awaited between this look and what is made of it.
    if identity_of(coordinator) != who:
        raise NotStored(f"assigned as {who}, now {identity_of(coordinator)}")
    by_topic: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for (topic, partition), position in offsets.items():
        by_topic[topic].append((partition, position.offset, position.metadata))
    request = OffsetCommitRequest(
        coordinator.group_id, *who, OffsetCommitRequest.DEFAULT_RETENTION_TIME, list(by_topic.items())
    )
    answer = await coordinator._send_req(request)
    told = dict(_told(answer.topics))
    unstored = {where: told.get(where, UnknownError()) for where in offsets if told.get(where, 1) is not None}
    _follow(coordinator, unstored.values(), who)
    return unstored


def _told(topics: Any) -> Iterable[tuple[TopicPartition, KafkaError | None]]:
    for topic, partitions in topics:
        for partition, code in partitions:
            error = for_code(code)
            yield TopicPartition(topic, partition), None if error is NoError else error()


def _follow(coordinator: Any, errors: Iterable[KafkaError], who: Identity) -> None:
    """What an answer says of the group itself concerns the engine's membership."""
    kinds = {type(error) for error in errors}
    if not kinds.isdisjoint(_ANOTHER_COORDINATOR):
        coordinator.coordinator_dead()
    if RebalanceInProgressError in kinds:
        coordinator.request_rejoin()
    # An answer that comes after a new generation was joined says nothing of that one.
    if not kinds.isdisjoint(_NO_MEMBER) and identity_of(coordinator) == who:
        coordinator.reset_generation()
