"""Turns a message, or the absence of one, into the record that goes on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import encode, message_type, outgoing_headers
from convex_messaging_fastapi.observability.tracing import trace_headers
from convex_messaging_fastapi.publishing.correlation import current_correlation_id
from convex_messaging_fastapi.publishing.ids import new_message_id
from convex_messaging_fastapi.records import Headers, OutgoingRecord

M = TypeVar("M")

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


def outgoing_many(
    messages: Iterable[M],
    key: Key | Callable[[M], Key],
    headers: UserHeaders | None,
    correlation_id: str | None,
    unix_seconds: float,
) -> list[OutgoingRecord]:
    """The records of messages that are published by one call. Raises `EncodeError` as `outgoing` does."""
    key_of = key if callable(key) else lambda message: key
    correlation_id = correlation_id or current_correlation_id()
    trace = trace_headers()
    return [
        _record(
            (
                key_bytes(key_of(message)),
                encode(message),
                outgoing_headers(
                    message_type=message_type(message),
                    unix_seconds=unix_seconds,
                    message_id=new_message_id(),
                    correlation_id=correlation_id,
                    user=headers,
                    trace=trace,
                ),
            )
        )
        for message in messages
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
