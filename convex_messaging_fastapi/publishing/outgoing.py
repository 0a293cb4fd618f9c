"""Turns a message, or the absence of one, into the record that goes on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import encode, headers_for_many, message_type, outgoing_headers
from convex_messaging_fastapi.observability.tracing import trace_headers
from convex_messaging_fastapi.publishing.correlation import current_correlation_id
from convex_messaging_fastapi.publishing.ids import new_message_id
from convex_messaging_fastapi.records import Headers, OutgoingRecord, OutgoingRecords

M = TypeVar("M")

MESSAGES_A_TURN = 1_000
"""As many as are encoded before the loop goes on: a few milliseconds."""

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

    A long list gives the loop its turns. It may change meanwhile, its messages must not.
    """
    headers_of = headers_for_many(
        unix_seconds=unix_seconds,
        correlation_id=correlation_id or current_correlation_id(),
        user=headers,
        trace=trace_headers(),
    )
    messages = list(messages)
    key_of = key if callable(key) else lambda message: key
    keys: list[bytes | None] = []
    values: list[bytes] = []
    types: list[str] = []
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

    return OutgoingRecords(keys, record)


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
    type_name: str, user: UserHeaders | None, correlation_id: str | None, unix_seconds: float
) -> Headers:
    """A message published while another is handled carries on that one's correlation id."""
    return outgoing_headers(
        message_type=type_name,
        unix_seconds=unix_seconds,
        message_id=new_message_id(),
        correlation_id=correlation_id or current_correlation_id(),
        user=user,
        trace=trace_headers(),
    )
