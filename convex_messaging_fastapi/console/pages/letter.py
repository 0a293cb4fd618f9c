"""One dead letter, whole: where it comes from, why it failed, what was in it, and what became of it."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.pages.indenting import indented
from convex_messaging_fastapi.console.pages.view import PAGE_SECONDS, View
from convex_messaging_fastapi.operations import Letter

SHOWN_BYTES = 64 * 1024
PRETTY_BYTES = 256 * 1024
HEX_BYTES = 4 * 1024
HIDDEN = "(hidden)"

_SECRET = re.compile(r"authorization|cookie|token|secret|password|passwd|api-?_?key", re.IGNORECASE)


class Payload(NamedTuple):
    """The failed message as a page shows it; `text` is `None` where it is no text."""

    size: int
    text: str | None
    is_json: bool
    hex: str
    cut: bool


class Header(NamedTuple):
    name: str
    value: str | None


async def letter(desk: Desk, request: Request) -> View:
    found = await whole(desk, request)
    return View(
        "letter.html",
        {
            "title": f"Dead letter {found.id}",
            "letter": found,
            "payload": None if found.value is None else payload_of(found.value),
            "key": None if found.key is None else text_of(found.key[:1024]),
            "headers": [shown(*header) for header in found.headers],
            "may_write": desk.may_write,
        },
    )


async def download(desk: Desk, request: Request) -> Response:
    """The failed message byte for byte, which no browser is to show as a page."""
    found = await whole(desk, request)
    name = re.sub(r"[^0-9A-Za-z._-]", "-", found.id)
    return Response(
        found.value or b"",
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}.bin"'},
    )


async def whole(desk: Desk, request: Request) -> Letter:
    return await desk.asked(desk.operations.dead_letter(request.path_params["id"]), PAGE_SECONDS)


def payload_of(value: bytes) -> Payload:
    """JSON in lines where it is small enough to be put in them."""
    pretty = _pretty(value)
    text = pretty if pretty is not None else _text(value[:SHOWN_BYTES])
    cut = len(value) > SHOWN_BYTES if pretty is None else len(pretty) > SHOWN_BYTES
    shown = None if text is None else text[:SHOWN_BYTES]
    return Payload(len(value), shown, pretty is not None, value[:HEX_BYTES].hex(" ", 1), cut)


def text_of(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def shown(name: str, value: bytes | None) -> Header:
    """Without the value where its name says that it is a secret."""
    if value is not None and _SECRET.search(name):
        return Header(name[:1024], HIDDEN)
    return Header(name[:1024], None if value is None else text_of(value[:4096]))


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
