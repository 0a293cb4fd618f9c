"""Makes the record that goes on the wire, of a message or of a tombstone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from pydantic import BaseModel

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import encode, headers_for_many, message_type, outgoing_headers
from convex_messaging_fastapi.observability.tracing import trace_headers
from convex_messaging_fastapi.publishing.correlation import cause_of
from convex_messaging_fastapi.publishing.ids import new_message_id
from convex_messaging_fastapi.records import Headers, OutgoingRecord, OutgoingRecords, size_of_headers

M = TypeVar("M")

_SOME_ID = bytes(36)
"""As long as each of them is."""

MESSAGES_A_TURN = 1_000
"""How many messages are encoded in one turn of the loop: a few milliseconds."""

Key = str | bytes | None
UserHeaders = Mapping[str, str | bytes]

# What a NamedTuple's own constructor does, without its detour through Python: one for every message.
_record: Callable[[tuple[bytes | None, bytes, Headers]], OutgoingRecord] = partial(
    tuple.__new__, OutgoingRecord
)


def outgoing(
    message: object, key: Key, headers: UserHeaders | None, correlation_id: str | None, unix_seconds: float
) -> OutgoingRecord:
    """The record of one message. Raises `EncodeError` when it cannot become JSON."""
    value = encode(message)
    return _record(
        (
            None if key is None else key_bytes(key),
            value,
            _headers(message_type(message), headers, correlation_id, unix_seconds),
        )
    )


async def outgoing_many(
    messages: Iterable[M],
    key: Key | Callable[[M], Key],
    headers: UserHeaders | None,
    correlation_id: str | None,
    unix_seconds: float,
) -> OutgoingRecords:
    """The records of messages that are published by one call. Raises `EncodeError` as `outgoing` does.

    With a long list the loop gets turns in between. The list may change meanwhile, its messages must not.
    """
    _refuse_one(messages)
    trace = trace_headers()
    cause = cause_of(correlation_id, trace)
    headers_of = headers_for_many(
        unix_seconds=unix_seconds,
        correlation_id=cause.correlation_id,
        causation_id=cause.causation_id,
        user=headers,
        trace=trace,
    )
    messages = list(messages)
    key_of = key if callable(key) else lambda message: key
    keys: list[bytes | None] = []
    values: list[bytes] = []
    types: list[str | None] = []
    ids: list[bytes] = []
    for start in range(0, len(messages), MESSAGES_A_TURN):
        if start:
            await asyncio.sleep(0)
        some = messages[start : start + MESSAGES_A_TURN]
        keys += [key_bytes(key_of(message)) for message in some]
        values += [encode(message) for message in some]
        types += map(message_type, some)
        ids += [new_message_id() for _ in some]

    def record(index: int) -> OutgoingRecord:
        return _record((keys[index], values[index], headers_of(types[index], ids[index])))

    return OutgoingRecords(keys, _sizes(keys, values, types, lambda name: headers_of(name, _SOME_ID)), record)


def _refuse_one(messages: object) -> None:
    """Refuse a single message, which iterates over its fields, keys or characters."""
    if isinstance(messages, BaseModel | Mapping | str | bytes) or not isinstance(messages, Iterable):
        raise EncodeError(
            f"publish_many takes several messages, such as a list, not one {type(messages).__name__}: "
            "write publish(topic, message), or put it in a list"
        )


def _sizes(
    keys: Iterable[bytes | None],
    values: list[bytes],
    types: list[str | None],
    headers_of: Callable[[str | None], Headers],
) -> list[int]:
    """Headers differ only by message type, and there are few types."""
    of_headers = {name: size_of_headers(headers_of(name)) for name in set(types)}
    if len(of_headers) == 1:
        (same,) = of_headers.values()
        return [len(value) + same + (len(key) if key else 0) for key, value in zip(keys, values, strict=True)]
    return [
        len(value) + of_headers[name] + (len(key) if key else 0)
        for key, value, name in zip(keys, values, types, strict=True)
    ]


def outgoing_tombstone(key: str | bytes, headers: UserHeaders | None, unix_seconds: float) -> OutgoingRecord:
    """The record that deletes what `key` had in a compacted topic."""
    return OutgoingRecord(key_bytes(key), None, _headers("tombstone", headers, None, unix_seconds))


def key_bytes(key: Key) -> bytes | None:
    """A key on the wire: the bytes given, or UTF-8 of the string given; never JSON."""
    if key is None or isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return _utf8(key)
    raise EncodeError(f"a key is a str, bytes or None, not {type(key).__name__}: use str(...) of it")


def _utf8(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise EncodeError(f"a key cannot be written as UTF-8: {error.reason}") from None


def _headers(
    type_name: str | None, user: UserHeaders | None, correlation_id: str | None, unix_seconds: float
) -> Headers:
    trace = trace_headers()
    cause = cause_of(correlation_id, trace)
    return outgoing_headers(
        message_type=type_name,
        unix_seconds=unix_seconds,
        message_id=new_message_id(),
        correlation_id=cause.correlation_id,
        causation_id=cause.causation_id,
        user=user,
        trace=trace,
    )
