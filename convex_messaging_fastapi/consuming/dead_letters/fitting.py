"""Finds the parts of a failed record that fit its dead letter, before anything is written.

A part is measured as it will stand in JSON, escapes included, so that JSON is written once, whatever
the topic takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from convex_messaging_fastapi.messages.dead_letter import OriginalHeader, as_base64, as_text
from convex_messaging_fastapi.records import Headers, Record, size_of_headers

MAX_HEADERS = 2000
"""More headers are left out: nobody writes so many on purpose, and each costs more than its bytes."""

_TWO_CHARACTERS = b'"\\\b\t\n\f\r'
_SIX_CHARACTERS = bytes(byte for byte in range(32) if byte not in _TWO_CHARACTERS)
_NULL = len("null")
_QUOTES = 2
_TRUE_TO_FALSE = 1
_HEADER = len('{"Name":,"Value":,"ValueBase64":},')

Fields = dict[str, Any]


class Part(NamedTuple):
    """A part that a dead letter may have: the bytes it adds, and the fields that hold it."""

    size: int
    fields: Callable[[], Fields]


def fields_that_fit(record: Record, stack: str, room: int) -> Fields | None:
    """The fields to add to a dead letter that says "omitted" of each part and has `room` bytes left.

    What does not fit is left out in this order: the stack trace, the headers, the copy of the key, and
    at last the payload. `None` where there is no room at all.
    """
    if room < 0:
        return None
    payloads = _payloads(record.value, room)
    rests = list(_ever_less([_stack(stack), *_headers(record.headers, room), _key(record.key)]))
    with_payload = ([payload, *rest] for rest in rests for payload in payloads)
    for parts in chain(with_payload, rests):
        if sum(part.size for part in parts) <= room:
            return {name: value for part in parts for name, value in part.fields().items()}
    return None


def json_size(text: bytes) -> int:
    """The bytes of a UTF-8 text as a string of JSON."""
    twice = len(text) - len(text.translate(None, _TWO_CHARACTERS))
    six_times = len(text) - len(text.translate(None, _SIX_CHARACTERS))
    return _QUOTES + len(text) + twice + 5 * six_times


def base64_size(value: bytes) -> int:
    """The bytes of a value as a JSON string in base64."""
    return _QUOTES + 4 * ((len(value) + 2) // 3)


def _ever_less(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    for start in range(len(parts) + 1):
        yield parts[start:]


def _payloads(value: bytes | None, room: int) -> list[Part]:
    """The value as text, if it is UTF-8, and in base64, which is shorter where much must be escaped."""
    if value is None:
        return [Part(_TRUE_TO_FALSE, lambda: {"payload_omitted": False})]
    if len(value) > room:
        return []
    in_base64 = Part(
        base64_size(value) - _NULL + _TRUE_TO_FALSE,
        lambda: {"original_message_base64": as_base64(value), "payload_omitted": False},
    )
    size = json_size(value) - _NULL + _TRUE_TO_FALSE
    if size > room or (text := _decoded(value)) is None:
        return [in_base64]
    return [Part(size, lambda: {"original_message": text, "payload_omitted": False}), in_base64]


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _stack(stack: str) -> Part:
    told = encodable(stack)
    return Part(json_size(told.encode()) - _NULL, lambda: {"stack_trace": told})


def _key(key: bytes | None) -> Part:
    text, in_base64 = as_text(key)
    fields = {"original_key_text": text, "original_key_base64": in_base64, "key_omitted": False}
    if key is None:
        return Part(_TRUE_TO_FALSE, lambda: fields)
    size = json_size(key) if text is not None else base64_size(key)
    return Part(size - _NULL + _TRUE_TO_FALSE, lambda: fields)


def _headers(headers: Headers, room: int) -> list[Part]:
    """No part where headers are too many or too large to be looked at one by one."""
    if len(headers) > MAX_HEADERS or size_of_headers(headers) > room:
        return []
    told = [_original(name, value) for name, value in headers]
    size = sum(_header_size(header) for header in told)
    fields = {"original_header_list": told, "headers_omitted": False}
    return [Part(max(0, size - 1) + _TRUE_TO_FALSE, lambda: fields)]  # no comma behind the last


def _header_size(header: OriginalHeader) -> int:
    value = _NULL if header.value is None else json_size(header.value.encode())
    in_base64 = _NULL if header.value_base64 is None else _QUOTES + len(header.value_base64)
    return _HEADER + json_size(header.name.encode()) + value + in_base64


def _original(name: str, value: bytes | None) -> OriginalHeader:
    text, in_base64 = as_text(value)
    return OriginalHeader(name=encodable(name), value=text, value_base64=in_base64)


def encodable(text: str) -> str:
    """`text`, with what UTF-8 cannot carry (half a surrogate pair) escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
