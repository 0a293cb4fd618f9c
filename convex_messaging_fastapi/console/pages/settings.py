"""The settings that count, where each comes from, and no secret."""

from __future__ import annotations

from starlette.requests import Request

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.looking import rows_of
from convex_messaging_fastapi.console.pages.view import View


async def settings(desk: Desk, request: Request) -> View:
    rows = await rows_of(desk)
    return View("settings.html", {"title": "Settings", "rows": rows, "instance": desk.course.instance})
