"""What a row of the outbox holds, and how records become rows and rows become records again."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from typing import Any, NamedTuple
from zlib import crc32

from convex_messaging_fastapi.outbox.tables import ID_CHARS, LANES
from convex_messaging_fastapi.records import Headers, OutgoingRecord

OUTBOX_ID = "outbox-id"
"""The header that tells readers the number of the row, which rises within a key."""

_BYTES = "b64"


class Row(NamedTuple):
    """One message as the outbox keeps it. `topic` is on the wire; `id` rises in the order of inserting."""

    id: int
    lane: int
    topic: str
    record: OutgoingRecord


def lane_of(key: bytes | None, message_id: str) -> int:
    """The lane of a message: that of its key, and without a key any. The same in every process."""
    return crc32(message_id.encode() if key is None else key) % LANES


def short_id(text: str) -> str:
    """An id or a name of at most 255 characters: a longer one is told by its SHA-256."""
    if len(text) <= ID_CHARS:
        return text
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def written_headers(headers: Headers) -> str:
    """Headers as JSON: their order, repeated names, nulls, and values that are no text survive."""
    return json.dumps([[name, _written(value)] for name, value in headers])


def read_headers(text: str) -> Headers:
    """What `written_headers` was given. Raises `ValueError` for any other text."""
    told = json.loads(text)
    if not isinstance(told, list):
        raise ValueError("the headers of an outbox row are a JSON list")
    return tuple(_read(each) for each in told)


def _written(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {_BYTES: b64encode(value).decode()}


def _read(told: Any) -> tuple[str, bytes | None]:
    match told:
        case [str(name), None]:
            return name, None
        case [str(name), str(text)]:
            return name, text.encode()
        case [str(name), {"b64": str(text)}]:
            return name, b64decode(text, validate=True)
    raise ValueError("a header of an outbox row is a JSON list of a name, and a text, bytes or null")
