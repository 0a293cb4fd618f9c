"""Marks dead letters as done with, and opens them again."""

from __future__ import annotations

from convex_messaging_fastapi.console.actions.shape import CONFIRM_SECONDS, DO_SECONDS, Action, Confirmation
from convex_messaging_fastapi.console.actions.words import (
    facts_of,
    in_words,
    left_by,
    letters,
    required,
)
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import Fields, fields_of, number, query_of
from convex_messaging_fastapi.console.looking import wanted_in
from convex_messaging_fastapi.console.security import Refused
from convex_messaging_fastapi.operations import Filter, Job


async def confirm_discard(desk: Desk, fields: Fields, by: str) -> Confirmation:
    wanted = wanted_in(desk, fields)
    asked = desk.operations.discard(wanted, by=by, reason="-", dry_run=True)
    job = await desk.asked(asked, CONFIRM_SECONDS)
    kept = fields_of(wanted)
    some = f"{letters(job.selected)} would be marked as discarded: no longer open, and not replayed."
    return Confirmation(
        title=f"Discard {letters(job.selected)}?" if job.selected else "There is nothing to discard",
        says=(some, "They stay in their topic, and can be opened again.", *job.notes)
        if job.selected
        else ("No letter that is meant can be discarded now.", *job.notes),
        shown=kept | {"expected": (str(job.selected),)},
        button=f"Discard {letters(job.selected)}" if job.selected else "",
        facts=tuple(facts_of(wanted, job)),
        left=left_by(job),
        reason="required",
        back=f"/dead-letters/list?{query_of(kept)}",
    )


async def discard(desk: Desk, fields: Fields, by: str, reason: str) -> str:
    if not reason:
        raise Refused(
            400, "The reason is missing; nothing was done.", "Go back, and say why they are not needed."
        )
    wanted = wanted_in(desk, fields)
    expected = number(required(fields, "expected"), "expected")
    deed = desk.operations.discard(wanted, by=by, reason=reason, expected=expected, dry_run=False)
    return _address_of(await desk.done_within(deed, DO_SECONDS), wanted)


async def confirm_reopen(desk: Desk, fields: Fields, by: str) -> Confirmation:
    wanted = _by_ids(desk, fields)
    count = letters(len(wanted.ids))
    page = await desk.asked(desk.operations.dead_letters(wanted, limit=0), CONFIRM_SECONDS, is_shared=True)
    return Confirmation(
        title=f"Open {count} again?",
        says=(
            f"{count} would be open again, whatever was done before; {letters(page.matched)} still there.",
            "They can then be replayed or discarded as any other.",
        ),
        shown={"ids": wanted.ids},
        button=f"Open {count} again",
        facts=(("Letters", in_words(wanted)),),
        back=f"/dead-letters/list?{query_of(fields_of(wanted))}",
    )


async def reopen(desk: Desk, fields: Fields, by: str, reason: str) -> str:
    wanted = _by_ids(desk, fields)
    job = await desk.done_within(desk.operations.reopen(wanted.ids, by=by), DO_SECONDS)
    return _address_of(job, wanted)


def _by_ids(desk: Desk, fields: Fields) -> Filter:
    required(fields, "ids")
    return wanted_in(desk, {"ids": fields["ids"], "state": ("all",)})


def _address_of(job: Job | None, wanted: Filter) -> str:
    if job is None:
        return "/jobs?done=long"
    if job.status == "planned":
        raise Refused(409, "None of these letters is left.", f"Meant were: {in_words(wanted)}.")
    return f"/jobs/{job.id}"


DISCARD = Action("discard", "/dead-letters/discard", confirm_discard, discard)
REOPEN = Action("reopen", "/dead-letters/reopen", confirm_reopen, reopen)
