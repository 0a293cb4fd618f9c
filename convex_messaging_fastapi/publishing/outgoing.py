"""Turns a message, or the absence of one, into the record that goes on the wire."""

from __future__ import annotations

from collections.abc import Mapping

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import encode, message_type, outgoing_headers
from convex_messaging_fastapi.observability.tracing import trace_headers
from convex_messaging_fastapi.publishing.correlation import current_correlation_id
from convex_messaging_fastapi.publishing.ids import new_message_id
from convex_messaging_fastapi.records import Headers, OutgoingRecord

Key = str | bytes | None
UserHeaders = Mapping[str, str | bytes]


def outgoing(
    message: object, key: Key, headers: UserHeaders | None, correlation_id: str | None, unix_seconds: float
) -> OutgoingRecord:
    """The record of one message. Raises `EncodeError` when it cannot become JSON."""
    value = encode(message)
    return OutgoingRecord(
        None if key is None else key_bytes(key),
        value,
        _headers(message_type(message), headers, correlation_id, unix_seconds),
    )


def outgoing_tombstone(key: str | bytes, headers: UserHeaders | None, unix_seconds: float) -> OutgoingRecord:
    """The record that deletes what `key` had in a compacted topic."""
    return OutgoingRecord(key_bytes(key), None, _headers("tombstone", headers, None, unix_seconds))


def key_bytes(key: Key) -> bytes | None:
    """A key on the wire: the bytes given, or UTF-8 of the string given; never JSON."""
    if key is None or isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return key.encode()
    raise EncodeError(f"a key is a str, bytes or None, not {type(key).__name__}: use str(...) of it")


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
