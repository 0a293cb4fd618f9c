"""The failed message that a letter holds: its key, value and headers, byte for byte."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jiter import from_json

from convex_messaging_fastapi.errors import DecodeError
from convex_messaging_fastapi.messages.dead_letter import from_text
from convex_messaging_fastapi.operations.letters import foreign
from convex_messaging_fastapi.operations.letters.cutting import Payload
from convex_messaging_fastapi.operations.letters.fields import is_said
from convex_messaging_fastapi.operations.letters.telling import Told
from convex_messaging_fastapi.records import Headers, Record

Part = Literal["value", "key", "headers"]


class Contents(NamedTuple):
    """`omitted` names the parts that the letter does not hold, or not as they were."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    omitted: tuple[Part, ...] = ()


class _NotHere(Exception):
    """The letter does not hold this part."""


def contents_of(told: Told, record: Record) -> Contents:
    """Of a record that is no letter the key, value and headers are the record's own."""
    if told.kind == "unreadable":
        return Contents(record.key, record.value, record.headers)
    if told.kind not in ("convex", "dotnet"):
        return Contents(record.key, record.value, foreign.original_headers(told.kind, record.headers))
    omitted: list[Part] = []
    key, value = record.key, None
    headers: Headers = ()
    try:
        value = _value(told)
    except _NotHere:
        omitted.append("value")
    try:
        key = _key(told, record)
    except _NotHere:
        omitted.append("key")
    try:
        headers = _headers(told)
    except _NotHere:
        omitted.append("headers")
    return Contents(key, value, headers, tuple(omitted))


def parts_omitted(told: Told, record: Record) -> tuple[Part, ...]:
    """The parts that the letter itself says it does not hold."""
    if told.kind != "convex":
        return ()
    fields = told.fields
    said: list[Part] = []
    if is_said(fields.get("PayloadOmitted")):
        said.append("value")
    if is_said(fields.get("KeyOmitted")) and record.key is None:
        said.append("key")
    if is_said(fields.get("HeadersOmitted")):
        said.append("headers")
    return tuple(said)


def value_text(told: Told, record: Record) -> str:
    """The message to look for a text in; bytes that are not UTF-8 are replaced."""
    try:
        value = _value(told) if told.kind in ("convex", "dotnet") else record.value
    except _NotHere:
        return ""
    return (value or b"").decode("utf-8", "replace")


def _value(told: Told) -> bytes | None:
    if is_said(told.fields.get("PayloadOmitted")):
        raise _NotHere
    if told.payload is not None:
        return _uncut(told.payload)
    return _bytes(told.fields.get("OriginalMessage"), told.fields.get("OriginalMessageBase64"))


def _uncut(payload: Payload) -> bytes:
    if payload.is_base64:
        return _bytes(None, payload.written.decode("utf-8", "replace")) or b""
    try:
        return str(from_json(b'"' + payload.written + b'"')).encode()
    except ValueError:
        raise _NotHere from None


def _key(told: Told, record: Record) -> bytes | None:
    if is_said(told.fields.get("KeyOmitted")):
        if record.key is None:
            raise _NotHere
        return record.key
    if told.kind == "dotnet":
        return record.key
    return _bytes(told.fields.get("OriginalKey"), told.fields.get("OriginalKeyBase64"))


def _headers(told: Told) -> Headers:
    if is_said(told.fields.get("HeadersOmitted")):
        raise _NotHere
    listed = told.fields.get("OriginalHeaders")
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise _NotHere
    return tuple(_header(each) for each in listed)


def _header(told: object) -> tuple[str, bytes | None]:
    if not isinstance(told, dict) or not isinstance(name := told.get("Name"), str):
        raise _NotHere
    return name, _bytes(told.get("Value"), told.get("ValueBase64"))


def _bytes(text: object, in_base64: object) -> bytes | None:
    if not isinstance(text, str | None) or not isinstance(in_base64, str | None):
        raise _NotHere
    try:
        return from_text(text, in_base64)
    except DecodeError:
        raise _NotHere from None
