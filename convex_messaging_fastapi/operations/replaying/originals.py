"""The message that a letter is about: as the letter holds it, or from where the message still stands."""

from __future__ import annotations

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.messages.headers import MESSAGE_ID
from convex_messaging_fastapi.messages.validation_errors import short
from convex_messaging_fastapi.operations.values import Letter
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import LogRange, LogReader

_NO_TIME = -1
_UNKNOWN_PLACE = 0


async def original_of(letter: Letter, logs: LogReader) -> Record | None:
    """The message as a record of its own topic; `None` where neither letter nor log has it any more."""
    if not letter.omitted:
        return in_letter(letter)
    found = await _at_its_place(letter, logs)
    return None if found is None or not is_the_same(found, letter) else found


def in_letter(letter: Letter) -> Record:
    topic, partition, offset, timestamp, _ = letter.origin
    return Record(
        topic,
        _UNKNOWN_PLACE if partition is None else partition,
        _UNKNOWN_PLACE if offset is None else offset,
        _NO_TIME if timestamp is None else round(timestamp.timestamp() * 1000),
        letter.key,
        letter.value,
        letter.headers,
    )


def is_the_same(record: Record, letter: Letter) -> bool:
    """Whether a record is the letter's message, for its topic may have been made anew."""
    expected = in_letter(letter)
    if record.timestamp_ms != expected.timestamp_ms or record.offset != expected.offset:
        return False
    told = next((value for name, value in reversed(record.headers) if name == MESSAGE_ID and value), None)
    return short(told) == letter.message_id


async def _at_its_place(letter: Letter, logs: LogReader) -> Record | None:
    topic, partition, offset, *_ = letter.origin
    if partition is None or offset is None:
        return None
    ranges = {TopicPartition(topic, partition): LogRange(offset, offset + 1)}
    try:
        async for records in logs.read(ranges):
            return records[0]
    except TransportError:
        return None
    return None
