"""Stops a job between two slices, in whichever process it runs."""

from __future__ import annotations

from convex_messaging_fastapi.console.actions.shape import CONFIRM_SECONDS, DO_SECONDS, Action, Confirmation
from convex_messaging_fastapi.console.actions.words import letters, required
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import Fields
from convex_messaging_fastapi.console.looking import job_of


async def confirm(desk: Desk, fields: Fields, by: str) -> Confirmation:
    job = await job_of(desk, required(fields, "id"), CONFIRM_SECONDS)
    if job.is_over:
        says = (f"It is {job.status} already: {job.done:,} of {letters(job.selected)} are done.",)
        return Confirmation(title="It is over", says=says, shown={}, back=f"/jobs/{job.id}")
    return Confirmation(
        title=f"Stop this {job.kind}?",
        says=(
            f"{job.done:,} of {letters(job.selected)} are done, and stay so.",
            f"{job.selected - job.done:,} would be left as they are; to do them, run it again.",
        ),
        shown={"id": (job.id,)},
        button="Stop it",
        facts=(("Job", job.id), ("Begun by", job.by)),
        back=f"/jobs/{job.id}",
    )


async def act(desk: Desk, fields: Fields, by: str, reason: str) -> str:
    id = required(fields, "id")
    job = await job_of(desk, id, DO_SECONDS)
    await desk.done_within(desk.operations.stop_job(job.id, by=by), DO_SECONDS)
    return f"/jobs/{job.id}"


STOP = Action("stop", "/jobs/stop", confirm, act)
