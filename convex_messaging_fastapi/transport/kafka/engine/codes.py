"""Answers of brokers that the engine has no name for, and would call unknown."""

from __future__ import annotations

from aiokafka.errors import BrokerResponseError, kafka_errors


class GroupMaxSizeReached(BrokerResponseError):  # type: ignore[misc]
    errno = 81
    message = "GROUP_MAX_SIZE_REACHED"
    description = "The group has as many members as the broker allows."


class FencedInstanceId(BrokerResponseError):  # type: ignore[misc]
    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "Another member has joined under the same group_instance_id."


class InvalidRecord(BrokerResponseError):  # type: ignore[misc]
    errno = 87
    message = "INVALID_RECORD"
    description = "the topic takes no such record (a compacted topic takes none without a key)"


def teach_codes() -> None:
    """Give these their names in the engine's own table, where it has none for them."""
    for error in (GroupMaxSizeReached, FencedInstanceId, InvalidRecord):
        kafka_errors.setdefault(error.errno, error)
