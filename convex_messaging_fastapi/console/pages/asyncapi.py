"""What this app receives and publishes, and what is in each message."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from convex_messaging_fastapi.asyncapi.describing import document_of, settings_of
from convex_messaging_fastapi.asyncapi.operations import declared_on
from convex_messaging_fastapi.asyncapi.showing import inner
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.inert import inert_lines
from convex_messaging_fastapi.console.pages.view import View
from convex_messaging_fastapi.console.troubles import told
from convex_messaging_fastapi.errors import ConfigurationError


async def asyncapi(desk: Desk, request: Request) -> View:
    document = await document_for(desk, request)
    # Controls stand in texts alone, never in the markup.
    shown = inert_lines(inner(document, source="api/asyncapi"))
    return View("asyncapi.html", {"title": "Messages", "shown": shown})


async def document_for(desk: Desk, request: Request) -> dict[str, Any]:
    """Raises `Refused` where the bus could not start with what is declared."""
    try:
        of = declared_on(desk.bus._declarations), settings_of(desk.bus), request.app
        # In a thread: that of a hundred messages takes a good part of a second.
        return await run_in_threadpool(document_of, *of)
    except ConfigurationError as error:
        raise told(error, desk.bus.status()) from error
