"""Dresses a failed record as a dead letter that fits its topic. Pure: it writes nothing anywhere."""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.messages import DeadLetterMessage, encode, outgoing_headers
from convex_messaging_fastapi.messages.complaints import one_line, validation_text
from convex_messaging_fastapi.messages.dead_letter import OriginalHeader, as_base64, as_text
from convex_messaging_fastapi.records import Headers, OutgoingRecord, Record, header_text, utc

REPLAY_COUNT = "x-convex-replay-count"
MAX_REPLAY_COUNT = 1000

MAX_TEXT = 2000
MAX_STACK = 4000
MAX_FRAMES = 20
MAX_CAUSES = 5
MAX_NAME = 256
MAX_SMALLEST = 64

_LAST_MS = 253_402_300_799_999  # the end of the year 9999, and of every calendar here
_LETTERS = uuid.UUID("6f0c9a0e-6b1d-5d0c-9a52-5a0c7a3f0d11")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message could not be handled. Its texts are bounded and safe to print."""

    exception_type: str
    text: str
    stack: str
    attempts: int
    group: str
    handler: str


def failure_of(
    exception: BaseException, attempts: int, group: str, handler: str, *, texts: bool = True
) -> Failure:
    """What is worth keeping of an exception once it is gone.

    Without `texts` that is its type and its place: no sentence of it, and nothing of its causes. What this
    package itself says of bytes that could not be decoded is told all the same, for it repeats none.
    """
    texts = texts or (isinstance(exception, DecodeError) and exception.tells_kind_and_place_only)
    return Failure(
        exception_type=_type_name(exception),
        text=_text_of(exception) if texts else _without_text(exception),
        stack=_stack_of(exception) if texts else _place_of(exception),
        attempts=attempts,
        group=one_line(group, MAX_NAME),
        handler=one_line(handler, MAX_NAME),
    )


def dress(record: Record, failure: Failure, failed_at: datetime, limit_bytes: int) -> OutgoingRecord:
    """The record for the dead-letter topic: at most `limit_bytes` (64 KiB or more), key and headers included.

    What does not fit is left out in this order: the stack trace, the headers, the letter's copy of
    the key, and at last the payload, for which the letter then points to the original's partition
    and offset. The record's key is the original key, unless that alone does not fit. With less
    than 64 KiB the letter may have to be the smallest there is, of about a thousand bytes, whether
    that fits or not. The same failure of the same record has the same `message-id`.
    """
    headers = _letter_headers(record, failure, failed_at)
    for letter in _from_full_to_bare(record, failure, failed_at):
        outgoing = OutgoingRecord(record.key, encode(letter), headers)
        if size_of(outgoing) <= limit_bytes:
            return outgoing
    keyless = OutgoingRecord(None, encode(letter), headers)
    if size_of(keyless) <= limit_bytes:
        return keyless
    return OutgoingRecord(None, encode(_smallest(letter)), headers)


def size_of(record: OutgoingRecord) -> int:
    """What a record takes in a log at most, uncompressed, in bytes."""
    headers = sum(len(name.encode()) + len(value or b"") + 10 for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + 100


def _from_full_to_bare(record: Record, failure: Failure, failed_at: datetime) -> Iterator[DeadLetterMessage]:
    """Ever smaller letters about one record; the last one fits anywhere."""
    letter = _about(record, failure, failed_at)
    payloads = _payloads(record.value)
    for rest in _ever_less(letter):
        for payload in payloads:
            yield rest.model_copy(update=payload)
    for rest in _ever_less(letter):
        yield rest.model_copy(update={"payload_omitted": True})


def _smallest(letter: DeadLetterMessage) -> DeadLetterMessage:
    """What says where the original is, and hardly more."""
    return letter.model_copy(
        update={
            "error_message": letter.error_message[:MAX_SMALLEST],
            "consumer_group": _shortened(letter.consumer_group),
            "handler": _shortened(letter.handler),
            "message_id": _shortened(letter.message_id),
        }
    )


def _shortened(text: str | None) -> str | None:
    return None if text is None else text[:MAX_SMALLEST]


def _payloads(value: bytes | None) -> list[dict[str, str | None]]:
    """The value as text; and in base64, which is shorter where text has much to escape."""
    text, in_base64 = as_text(value)
    payload = {"original_message": text, "original_message_base64": in_base64}
    if text is None or value is None:
        return [payload]
    return [payload, {"original_message": None, "original_message_base64": as_base64(value)}]


def _ever_less(letter: DeadLetterMessage) -> Iterator[DeadLetterMessage]:
    yield letter
    letter = letter.model_copy(update={"stack_trace": None})
    yield letter
    letter = letter.model_copy(update={"original_header_list": [], "headers_omitted": True})
    yield letter
    no_key = {"original_key_text": None, "original_key_base64": None, "key_omitted": True}
    yield letter.model_copy(update=no_key)


def _about(record: Record, failure: Failure, failed_at: datetime) -> DeadLetterMessage:
    """Everything but the payload."""
    key, key_in_base64 = as_text(record.key)
    return DeadLetterMessage(
        original_topic=_encodable(record.topic),
        error_message=failure.text,
        failed_at=failed_at,
        original_partition=record.partition,
        original_offset=record.offset,
        original_timestamp=utc(record.timestamp_ms) if 0 <= record.timestamp_ms <= _LAST_MS else None,
        original_key_text=key,
        original_key_base64=key_in_base64,
        original_header_list=[_original_header(name, value) for name, value in record.headers],
        exception_type=failure.exception_type,
        stack_trace=failure.stack,
        attempts=failure.attempts,
        consumer_group=failure.group,
        handler=failure.handler,
        message_id=_short_header(record.headers, "message-id"),
        replay_count=_replay_count(record.headers),
    )


def _original_header(name: str, value: bytes | None) -> OriginalHeader:
    text, in_base64 = as_text(value)
    return OriginalHeader(name=_encodable(name), value=text, value_base64=in_base64)


def _letter_headers(record: Record, failure: Failure, failed_at: datetime) -> Headers:
    where = f"{record.topic}/{record.partition}/{record.offset}/{failure.group}/{failure.handler}"
    message_id = str(uuid.uuid5(_LETTERS, _encodable(where)))
    return outgoing_headers(
        message_type=DeadLetterMessage.__name__,
        unix_seconds=failed_at.timestamp(),
        message_id=message_id,
        correlation_id=_short_header(record.headers, "correlation-id") or message_id,
    )


def _short_header(headers: Headers, name: str) -> str | None:
    text = header_text(headers, name)
    return None if text is None else one_line(text, MAX_NAME)


def _replay_count(headers: Headers) -> int:
    """Anybody may have written this header: what is no small number counts as nothing."""
    text = header_text(headers, REPLAY_COUNT) or ""
    return min(int(text), MAX_REPLAY_COUNT) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _encodable(text: str) -> str:
    """`text`, with what UTF-8 cannot carry (half a surrogate pair) escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _text_of(exception: BaseException) -> str:
    """What an exception says; a validation error without the input that it would repeat."""
    try:
        said = validation_text(exception) if isinstance(exception, ValidationError) else str(exception)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a `__str__` may raise anything, and the letter must be written
        return f"{_type_name(exception)}, whose text cannot be read"
    return one_line(said, MAX_TEXT) or _type_name(exception)


def _type_name(exception: BaseException) -> str:
    kind = type(exception)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return one_line(name, MAX_NAME)


def _without_text(exception: BaseException) -> str:
    return f"{_type_name(exception)}, whose text is not told: error_texts is false"


def _stack_of(exception: BaseException) -> str:
    """Where it was raised, and where its causes were, the newest first; the end of each is kept."""
    told = [
        f"{_type_name(link)}: {_text_of(link)}\n{_frames_of(link)}".rstrip() for link in _chain(exception)
    ]
    return "\n".join(told)[:MAX_STACK]


def _place_of(exception: BaseException) -> str:
    return f"{_type_name(exception)}\n{_frames_of(exception)}".rstrip()[:MAX_STACK]


def _frames_of(exception: BaseException) -> str:
    """Files, lines and functions; no line of code, which may hold a value."""
    frames = traceback.extract_tb(exception.__traceback__)[-MAX_FRAMES:]
    lines = [f"  {_encodable(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join(reversed(lines))


def _chain(exception: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = exception
    for _ in range(MAX_CAUSES):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
