"""What was in a message, as far as it is shown."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from convex_messaging_fastapi.console.looking.indenting import indented

SHOWN_BYTES = 64 * 1024
PRETTY_BYTES = 256 * 1024
HEX_BYTES = 4 * 1024
HEADER_BYTES = 4 * 1024
NAME_CHARACTERS = 1024
HIDDEN = "(hidden)"

_SECRET = re.compile(r"authorization|cookie|token|secret|password|passwd|api-?_?key", re.IGNORECASE)


class Payload(NamedTuple):
    """The value as a page shows it; `text` is `None` where it is no text."""

    size: int
    text: str | None
    is_json: bool
    hex: str
    cut: bool


class Header(NamedTuple):
    name: str
    value: str | None


def payload_of(value: bytes) -> Payload:
    """JSON in lines where it is small enough to be put in them."""
    pretty = _pretty(value)
    text = pretty if pretty is not None else _text(value[:SHOWN_BYTES])
    cut = len(value) > SHOWN_BYTES if pretty is None else len(pretty) > SHOWN_BYTES
    shown = None if text is None else text[:SHOWN_BYTES]
    return Payload(len(value), shown, pretty is not None, value[:HEX_BYTES].hex(" ", 1), cut)


def text_of(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def shown_header(name: str, value: bytes | None) -> Header:
    """Without the value where its name says that it is a secret."""
    if value is not None and _SECRET.search(name):
        return Header(name[:NAME_CHARACTERS], HIDDEN)
    return Header(name[:NAME_CHARACTERS], None if value is None else text_of(value[:HEADER_BYTES]))


def _pretty(value: bytes) -> str | None:
    if len(value) > PRETTY_BYTES:
        return None
    try:
        json.loads(value)
        return indented(value.decode())
    except (ValueError, RecursionError):
        return None


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        # A character may have been cut in two.
        return value[: error.start].decode() if error.start >= len(value) - 3 and error.start else None
