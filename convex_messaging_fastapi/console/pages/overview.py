"""The first page: how the bus is, what it did, and where to look further."""

from __future__ import annotations

from starlette.requests import Request

from convex_messaging_fastapi.console.course import STEP_SECONDS, counts_of
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.pages.view import View
from convex_messaging_fastapi.verdicts import ready


async def overview(desk: Desk, request: Request) -> View:
    status = desk.bus.status()
    handlers = [each for worker in status.workers for each in worker.subscriptions]
    return View(
        "overview.html",
        {
            "title": "Overview",
            "verdict": ready(status),
            "status": status,
            "counts": counts_of(status),
            "running": sum(each.running for each in handlers),
            "waiting": sum(each.waiting + each.backing_off for each in handlers),
            "handlers": len(handlers),
            "since": desk.course.since,
            "instance": desk.course.instance,
            "steps": desk.course.steps,
            "step_seconds": int(STEP_SECONDS),
        },
    )
