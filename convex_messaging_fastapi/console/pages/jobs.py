"""What was done to dead letters, by whom, and how far it is."""

from __future__ import annotations

from starlette.requests import Request

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.drawing import many
from convex_messaging_fastapi.console.forms import query_of, told_again
from convex_messaging_fastapi.console.looking import job_of
from convex_messaging_fastapi.console.pages.view import PAGE_SECONDS, View
from convex_messaging_fastapi.console.wording import DONE
from convex_messaging_fastapi.operations import Job


async def jobs(desk: Desk, request: Request) -> View:
    return View(
        "jobs.html",
        {
            "title": "Jobs",
            "jobs": await desk.asked(desk.operations.jobs(), PAGE_SECONDS),
            "done": DONE.get(request.query_params.get("done", ""), ""),
        },
    )


async def job(desk: Desk, request: Request) -> View:
    found = await job_of(desk, request.path_params["id"], PAGE_SECONDS)
    meant = told_again(found.filter)
    return View(
        "job.html",
        {
            "title": f"{found.kind.capitalize()} of {many(found.selected, 'letter')}",
            "job": found,
            "meant": meant,
            "again_query": query_of(meant),
            "rate": rate_of(found),
            "may_write": desk.may_write,
        },
    )


def rate_of(job: Job) -> float | None:
    """Letters a second until now."""
    took = (job.at - job.started_at).total_seconds()
    return job.done / took if took >= 1 and job.done > 1 else None
