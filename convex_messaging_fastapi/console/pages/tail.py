"""The newest messages of one of the app's topics, and those that come."""

from __future__ import annotations

from starlette.requests import Request

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.looking import row_of, tail_of, topics_of
from convex_messaging_fastapi.console.pages.view import PAGE_SECONDS, View

SHOWN = 50


async def tail(desk: Desk, request: Request) -> View:
    topic = request.query_params.get("topic", "")
    found = None if not topic else await tail_of(desk, topic, None, SHOWN, PAGE_SECONDS)
    return View(
        "tail.html",
        {
            "title": f"Live tail of {topic}" if topic else "Live tail",
            "topics": topics_of(desk),
            "topic": topic,
            "found": found,
            "rows": [row_of(each) for each in reversed(found.records)] if found else [],
        },
    )
