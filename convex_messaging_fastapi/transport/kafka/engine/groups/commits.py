"""A commit as one request, with the answer for each of its partitions.

The engine's own commit raises the error of one partition, although the others may be stored.
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
    """Who a member is in its group; a commit is only valid while neither has changed."""

    generation: int
    member_id: str


class NotStored(Exception):
    """A commit was not sent, because the member's generation or id has changed since its assignment."""


Unstored = Mapping[TopicPartition, KafkaError]


def identity_of(coordinator: Any) -> Identity:
    """Who the engine is in its group now."""
    return Identity(coordinator.generation, coordinator.member_id)


async def commit(coordinator: Any, offsets: Mapping[TopicPartition, Position], who: Identity) -> Unstored:
    """One attempt to store `offsets` in the name of `who`. Returns why some were not stored; the others were.

    Raises `NotStored`, or `KafkaError` when no answer came.
    """
    # The engine's own `commit` tries for ever, each time under the member's id of that moment, and so could
    # overwrite a successor's commit. Nothing may be awaited between this check and the request.
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
    """Tell the engine's coordinator what the answer says of the group itself."""
    kinds = {type(error) for error in errors}
    if not kinds.isdisjoint(_ANOTHER_COORDINATOR):
        coordinator.coordinator_dead()
    if RebalanceInProgressError in kinds:
        coordinator.request_rejoin()
    # After a new generation was joined, an old answer says nothing about that one.
    if not kinds.isdisjoint(_NO_MEMBER) and identity_of(coordinator) == who:
        coordinator.reset_generation()
