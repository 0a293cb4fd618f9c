"""The outboxes of the bus: what waits in them, who publishes it, and what holds it up."""

from __future__ import annotations

from starlette.requests import Request

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.pages.view import View


async def outboxes(desk: Desk, request: Request) -> View:
    return View(
        "outboxes.html",
        {
            "title": "Outboxes",
            "outboxes": desk.bus.status().outboxes,
            "since": desk.course.since,
            "instance": desk.course.instance,
        },
    )
