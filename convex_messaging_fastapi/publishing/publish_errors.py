"""The errors of messages that were not acknowledged: what was tried, what went wrong, what to do.

None of them repeats a message's key, headers or value.
"""

from __future__ import annotations

from typing import NamedTuple

from convex_messaging_fastapi.errors import MessageTooLarge, PublishError, PublishFailed, PublishUnknown
from convex_messaging_fastapi.publishing.limits import KEPT_BYTES, PublishLimits
from convex_messaging_fastapi.publishing.pending import Pending
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition

UNWRITTEN = "It is certainly not written"
DOUBTFUL = "It may be written, or may land later"


class _End(NamedTuple):
    """What a message came too late for, and what its caller may do then."""

    moment: str
    if_unwritten: str
    if_in_doubt: str


_DEADLINE = _End(
    "its deadline",
    "publish it again, or allow a longer timeout",
    "publish it again only if its consumers bear a duplicate",
)
_STOP = _End(
    "the publisher stopped",
    "publish it again after the next start",
    "publish it again after the next start only if its consumers bear a duplicate",
)


def overdue(message: Pending, where: str, reason: str) -> PublishError:
    """The message's deadline has passed."""
    return _too_late(message, where, reason, _DEADLINE)


def given_up(message: Pending, where: str, reason: str) -> PublishError:
    """The publisher stops and has no time left for it."""
    return _too_late(message, where, reason, _STOP)


def _too_late(message: Pending, where: str, reason: str, end: _End) -> PublishError:
    if _is_certainly_unwritten(message):
        return PublishFailed(
            f"A message for {where} was not written before {end.moment}: {reason}. "
            f"{UNWRITTEN}; {end.if_unwritten}."
        )
    return PublishUnknown(
        f"A message for {where} was not acknowledged before {end.moment}: {reason}. "
        f"{DOUBTFUL}; {end.if_in_doubt}."
    )


def abandoned(message: Pending, where: str) -> PublishError:
    """The caller was cancelled, so this error is only counted."""
    kind = PublishFailed if _is_certainly_unwritten(message) else PublishUnknown
    return kind(f"The caller that published a message to {where} was cancelled.")


def refused(where: TopicPartition, reason: str) -> PublishFailed:
    return PublishFailed(
        f"Kafka refused a message for {named(where)}: {reason or 'no reason given'}. "
        f"{UNWRITTEN}, and publishing it again cannot help before the reason is mended."
    )


def refused_in_doubt(where: TopicPartition, reason: str) -> PublishUnknown:
    """Refused now, but an earlier attempt may have written it."""
    return PublishUnknown(
        f"Kafka refused a message for {named(where)} that an earlier attempt may have written: "
        f"{reason or 'no reason given'}. {DOUBTFUL}; mend the reason before publishing it again."
    )


def halted(where: TopicPartition, reason: str) -> PublishFailed:
    """One before it in its call was refused, and it must not be written before that one."""
    return PublishFailed(
        f"A message for {named(where)} was not sent, because Kafka refused one before it: "
        f"{reason or 'no reason given'}. {UNWRITTEN}; publish both again, in order, once that is mended."
    )


def too_large(where: TopicPartition, reason: str) -> MessageTooLarge:
    return MessageTooLarge(
        f"A message for {named(where)} is larger than its topic takes: {reason or 'no size given'}. "
        f"{UNWRITTEN}; make it smaller, or raise max.message.bytes of the topic."
    )


def over_limit(topic: str, measured: str, limit: int) -> MessageTooLarge:
    """Larger than our own limit, whatever the topic's is."""
    return MessageTooLarge(
        f"A message for {topic!r} is larger than max_message_bytes allows: {measured} are more than {limit}. "
        f"{UNWRITTEN}; make it smaller, or raise max_message_bytes (KAFKA_MAX_MESSAGE_BYTES), and "
        "max.message.bytes of the topic where that is less."
    )


def too_large_for(
    limits: PublishLimits, topic: str, record: OutgoingRecord, size: int
) -> MessageTooLarge | None:
    """The error of a message of `size` bytes, `KEPT_BYTES` included, where it is over our own limit."""
    of_value, limit = len(record.value or b""), limits.message_bytes
    rest = size - KEPT_BYTES - of_value
    if of_value > limit:
        return over_limit(topic, f"{of_value} bytes", limit)
    if rest > limit:
        return over_limit(topic, f"{rest} bytes of key and headers", limit)
    return None


def crowded(topic: str, messages: int, size: int, waiting: int, limit: int) -> PublishFailed:
    """Too many bytes wait to be acknowledged already; sizes are bytes."""
    what = "A message" if messages == 1 else f"A list of {messages} messages"
    again = "publish it again when less waits" if size <= limit else "publish it in parts"
    return PublishFailed(
        f"{what} for {topic!r} was not taken: {size} bytes, beside {waiting} that wait to be acknowledged, "
        f"are more than max_pending_bytes allows ({limit}). {UNWRITTEN}; {again}, or raise "
        "max_pending_bytes (KAFKA_MAX_PENDING_BYTES)."
    )


def no_room_for_dead_letter(topic: str, size: int) -> PublishFailed:
    """Other dead letters had all the room until the deadline."""
    return PublishFailed(
        f"A dead letter of {size} bytes for {topic!r} was not written before its deadline: the letters "
        f"before it were still waiting for the cluster. {UNWRITTEN}; it is tried again."
    )


def no_topic(topic: str, reason: str, remedy: str) -> PublishFailed:
    return PublishFailed(f"A message for {topic!r} was not written: {reason}. {UNWRITTEN}; {remedy}.")


def no_partition(topic: str, partition: int | None, count: int) -> PublishFailed:
    return PublishFailed(
        f"A message for partition {partition} of {topic!r} was not written: the topic has partitions 0 to "
        f"{count - 1}. {UNWRITTEN}; name one of these, or none."
    )


def not_running(topic: str) -> PublishFailed:
    return PublishFailed(
        f"A message for {topic!r} was not written: the publisher is not running. "
        f"{UNWRITTEN}; publish between start and stop."
    )


def named(where: TopicPartition) -> str:
    return f"{where.topic!r} (partition {where.partition})"


def _is_certainly_unwritten(message: Pending) -> bool:
    return message.line is not None and not message.doubtful
