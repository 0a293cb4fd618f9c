"""The subscriptions of this process: what each does, how far behind it is, and whether it is paused."""

from __future__ import annotations

from starlette.requests import Request

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.pages.view import View
from convex_messaging_fastapi.console.wording import DONE


async def subscriptions(desk: Desk, request: Request) -> View:
    desk.course.lag_wanted()
    status = desk.bus.status()
    return View(
        "subscriptions.html",
        {
            "title": "Subscriptions",
            "status": status,
            "workers": status.workers,
            "since": desk.course.since,
            "instance": desk.course.instance,
            "may_write": desk.may_write,
            "done": DONE.get(request.query_params.get("done", ""), ""),
        },
    )
