"""Dead letters: what failed alike, one by one, and what today's handlers would say."""

from __future__ import annotations

from typing import get_args

from starlette.requests import Request

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import fields_of, query_of
from convex_messaging_fastapi.console.looking import wanted_by
from convex_messaging_fastapi.console.pages.view import PAGE_SECONDS, View
from convex_messaging_fastapi.operations import Filter, LetterState

ON_A_PAGE = 100
STATES = (*get_args(LetterState), "expires_soon", "all")


async def groups(desk: Desk, request: Request) -> View:
    """What failed alike is one row."""
    wanted = wanted_by(desk, request)
    page = await desk.asked(desk.operations.dead_letters(wanted, limit=0), PAGE_SECONDS, is_shared=True)
    return View(
        "groups.html",
        {
            "title": "Dead letters",
            "page": page,
            "wanted": wanted,
            "wanted_query": query_of(fields_of(wanted)),
            "state_query": query_of({"state": (wanted.state,)}),
            "states": STATES,
            "is_filtered": wanted != Filter(),
            "since": desk.course.since,
            "may_write": desk.may_write,
        },
    )


async def letters(desk: Desk, request: Request) -> View:
    """One by one, newest first."""
    wanted = wanted_by(desk, request)
    after = request.query_params.get("after") or None
    asked = desk.operations.dead_letters(wanted, limit=ON_A_PAGE, after=after)
    page = await desk.asked(asked, PAGE_SECONDS, is_shared=True)
    fields = fields_of(wanted)
    return View(
        "letters.html",
        {
            "title": "Dead letters, one by one",
            "page": page,
            "wanted": wanted,
            "fields": fields,
            "wanted_query": query_of(fields),
            "next_query": query_of(fields, after=page.next) if page.next else None,
            "states": STATES,
            "is_filtered": wanted != Filter(),
            "since": desk.course.since,
            "may_write": desk.may_write,
        },
    )


async def validation(desk: Desk, request: Request) -> View:
    """What today's handlers would say of them. Writes nothing, and calls none."""
    wanted = wanted_by(desk, request)
    found = await desk.asked(desk.operations.validate(wanted), PAGE_SECONDS)
    return View(
        "validation.html",
        {
            "title": "Would they be accepted?",
            "found": found,
            "wanted_query": query_of(fields_of(wanted)),
            "may_write": desk.may_write,
        },
    )
