"""Finds a job, wherever it runs."""

from __future__ import annotations

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.security import Refused
from convex_messaging_fastapi.operations import Job


async def job_of(desk: Desk, id: str, seconds: float) -> Job:
    """Of this process as far as it is, of another as it was last told. Raises `Refused` for any other."""
    if (own := desk.operations.job(id)) is not None:
        return own
    for each in await desk.asked(desk.operations.jobs(), seconds):
        if each.id == id:
            return each
    raise Refused(404, "There is no such job.", "Jobs lists those that are remembered.")
