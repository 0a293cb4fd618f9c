"""One dead letter, whole: where it comes from, why it failed, what was in it, and what became of it."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.looking import payload_of, shown_header, text_of
from convex_messaging_fastapi.console.pages.view import PAGE_SECONDS, View
from convex_messaging_fastapi.operations import Letter

KEY_BYTES = 1024


async def letter(desk: Desk, request: Request) -> View:
    found = await _whole(desk, request)
    return View(
        "letter.html",
        {
            "title": f"Dead letter {found.id}",
            "letter": found,
            "payload": None if found.value is None else payload_of(found.value),
            "key": None if found.key is None else text_of(found.key[:KEY_BYTES]),
            "headers": [shown_header(*header) for header in found.headers],
            "may_write": desk.may_write,
        },
    )


async def download(desk: Desk, request: Request) -> Response:
    """The failed message byte for byte, which no browser is to show as a page."""
    found = await _whole(desk, request)
    name = re.sub(r"[^0-9A-Za-z._-]", "-", found.id)
    return Response(
        found.value or b"",
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}.bin"'},
    )


async def _whole(desk: Desk, request: Request) -> Letter:
    return await desk.asked(
        desk.operations.dead_letter(request.path_params["id"]), PAGE_SECONDS, is_shared=True
    )
