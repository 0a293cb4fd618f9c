"""What this app receives and publishes, and what is in each message."""

from __future__ import annotations

from starlette.requests import Request

from convex_messaging_fastapi.asyncapi.showing import inner
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.inert import inert_lines
from convex_messaging_fastapi.console.looking import document_for
from convex_messaging_fastapi.console.pages.view import View


async def asyncapi(desk: Desk, request: Request) -> View:
    document = await document_for(desk, request)
    # Controls stand in texts alone, never in the markup.
    shown = inert_lines(inner(document, source="api/asyncapi"))
    return View("asyncapi.html", {"title": "Messages", "shown": shown})
