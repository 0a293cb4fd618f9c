"""Error codes of brokers that the engine does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps

from aiokafka import errors
from aiokafka.errors import BrokerResponseError, UnknownError

from convex_messaging_fastapi.transport.kafka.engine.ours import at_work


class GroupMaxSizeReached(BrokerResponseError):  # type: ignore[misc]
    errno = 81
    message = "GROUP_MAX_SIZE_REACHED"
    description = "The group has as many members as the broker allows."


class FencedInstanceId(BrokerResponseError):  # type: ignore[misc]
    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "Another member has joined under the same group_instance_id."


class FencedProducer(BrokerResponseError):  # type: ignore[misc]
    errno = 90
    message = "PRODUCER_FENCED"
    description = "Another producer has claimed the transactional id, or the transaction timed out."


class InvalidRecord(BrokerResponseError):  # type: ignore[misc]
    errno = 87
    message = "INVALID_RECORD"
    description = "the topic takes no such record (a compacted topic takes none without a key)"


_OURS = (GroupMaxSizeReached, FencedInstanceId, InvalidRecord, FencedProducer)

NAMES: Mapping[int, type[BrokerResponseError]] = {
    **{error.errno: error for error in _OURS},
    **errors.kafka_errors,
}


def for_code(code: int) -> type[BrokerResponseError]:
    """The error class of a code: the engine's own, if it has one."""
    return NAMES.get(code, UnknownError)


def name_codes() -> None:
    """Let the engine know these codes too, where it works for us."""
    theirs: Callable[[int], type[BrokerResponseError]] = errors.for_code

    @wraps(theirs)
    def named(error_code: int) -> type[BrokerResponseError]:
        return theirs(error_code) if at_work() is None else for_code(error_code)

    errors.for_code = named
