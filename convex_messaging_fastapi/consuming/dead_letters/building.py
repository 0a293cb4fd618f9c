"""Builds the dead letter of a failed record so that it fits its topic. Pure: it writes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime

from convex_messaging_fastapi.consuming.dead_letters.fitting import encodable, fields_that_fit
from convex_messaging_fastapi.failures import MAX_TEXT, Failure, untold
from convex_messaging_fastapi.messages import DeadLetterMessage, encode, outgoing_headers
from convex_messaging_fastapi.messages.copies import COUNT
from convex_messaging_fastapi.messages.headers import CORRELATION_ID, MESSAGE_ID
from convex_messaging_fastapi.messages.validation_errors import MAX_NAME, one_line, short
from convex_messaging_fastapi.records import Headers, OutgoingRecord, Record, utc
from convex_messaging_fastapi.transport.base import Unreadable

MAX_REPLAY_COUNT = 1000

MAX_SMALLEST = 64

_LAST_MS = 253_402_300_799_999  # the end of the year 9999, and of every calendar here
_LETTERS = uuid.UUID("6f0c9a0e-6b1d-5d0c-9a52-5a0c7a3f0d11")
_KNOWN = frozenset({MESSAGE_ID, CORRELATION_ID, COUNT})

KnownHeaders = Mapping[str, bytes]
"""The original's headers that a dead letter tells of."""


def failure_to_read(batch: Unreadable, group: str, *, texts: bool = True) -> Failure:
    """The failure of a batch that cannot be read; `texts` is as in `failures.failure_of`."""
    kind = one_line(batch.error, MAX_NAME)
    return Failure(
        exception_type=kind,
        text=one_line(batch.why, MAX_TEXT) if texts else untold(kind),
        stack="",
        attempts=batch.tries,
        group=one_line(group, MAX_NAME),
        handler=None,
        last_offset=batch.end - 1,
    )


def build_dead_letter(
    record: Record,
    failure: Failure,
    failed_at: datetime,
    limit_bytes: int,
    trace: Mapping[str, str] | None = None,
) -> OutgoingRecord:
    """The record for the dead-letter topic: at most `limit_bytes` (64 KiB or more), key and headers included.

    What does not fit is left out in this order: the stack trace, the headers, the copy of the key, and
    at last the payload, for which the dead letter then names the original's partition and offset. More
    than 2,000 headers are left out in any case. The record's key is the original key, unless that alone
    does not fit. Below 64 KiB it may have to be the smallest dead letter, of about a thousand bytes,
    even if that does not fit. The same failure of the same record has the same `message-id`, and its
    failure after a replay another one. The cost is in proportion to the bytes of the record. About a
    batch that could not be read the dead letter says only where it is. `trace` has the headers of the span
    that it is written in.
    """
    known = _known(record.headers)
    headers = _own_headers(record, failure, failed_at, known, trace)
    bare = _about(record, failure, failed_at, known)
    written = encode(bare)
    room = limit_bytes - size_of(OutgoingRecord(record.key, written, headers))
    could_be_read = failure.last_offset is None
    fields = fields_that_fit(record, failure.stack, room) if could_be_read else None
    if fields is not None:
        return OutgoingRecord(record.key, encode(bare.model_copy(update=fields)), headers)
    keyless = OutgoingRecord(None, written, headers)
    if size_of(keyless) <= limit_bytes:
        return keyless
    return OutgoingRecord(None, encode(_smallest(bare)), headers)


def size_of(record: OutgoingRecord) -> int:
    """The most bytes that a record takes in a log, uncompressed."""
    headers = sum(len(name.encode()) + len(value or b"") + 10 for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + 100


def _smallest(letter: DeadLetterMessage) -> DeadLetterMessage:
    """Hardly more than where the original is."""
    return letter.model_copy(
        update={
            "error_message": letter.error_message[:MAX_SMALLEST],
            "consumer_group": _shortened(letter.consumer_group),
            "handler": _shortened(letter.handler),
            "message_id": _shortened(letter.message_id),
            "frame": None,
        }
    )


def _shortened(text: str | None) -> str | None:
    return None if text is None else text[:MAX_SMALLEST]


def _about(record: Record, failure: Failure, failed_at: datetime, known: KnownHeaders) -> DeadLetterMessage:
    """The dead letter without the parts that may be too large."""
    return DeadLetterMessage(
        original_topic=encodable(record.topic),
        error_message=failure.text,
        failed_at=failed_at,
        original_partition=record.partition,
        original_offset=record.offset,
        original_last_offset=failure.last_offset,
        original_timestamp=utc(record.timestamp_ms) if 0 <= record.timestamp_ms <= _LAST_MS else None,
        exception_type=failure.exception_type,
        frame=None if failure.frame is None else encodable(failure.frame),
        attempts=failure.attempts,
        consumer_group=failure.group,
        handler=failure.handler,
        message_id=short(known.get(MESSAGE_ID)),
        replay_count=_replay_count(known),
        payload_omitted=True,
        headers_omitted=True,
        key_omitted=True,
    )


def _own_headers(
    record: Record,
    failure: Failure,
    failed_at: datetime,
    known: KnownHeaders,
    trace: Mapping[str, str] | None,
) -> Headers:
    what = f"{record.topic}/{record.partition}/{record.offset}/{failure.group}/{failure.handler}"
    if (count := _replay_count(known)) > 0:
        what = f"{count}//{what}"  # the failure of a replay is another one; no topic's name holds a slash
    message_id = str(uuid.uuid5(_LETTERS, encodable(what)))
    return outgoing_headers(
        message_type=DeadLetterMessage.__name__,
        unix_seconds=failed_at.timestamp(),
        message_id=message_id,
        correlation_id=short(known.get(CORRELATION_ID)) or message_id,
        trace=trace,
    )


def _known(headers: Headers) -> KnownHeaders:
    """The last value of each header that matters here, in one pass: there may be a million headers."""
    return {name: value for name, value in headers if name in _KNOWN and value is not None}


def _replay_count(known: KnownHeaders) -> int:
    """Anybody may have written this header: anything but a small number counts as 0."""
    text = known.get(COUNT, b"")[:10].decode("utf-8", "replace")
    return min(int(text), MAX_REPLAY_COUNT) if text.isascii() and text.isdigit() and len(text) < 10 else 0
