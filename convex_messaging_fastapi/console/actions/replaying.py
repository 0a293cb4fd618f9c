"""Has dead letters handled again: says before how many go where, and begins a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from convex_messaging_fastapi.console.actions.shape import (
    CONFIRM_SECONDS,
    DO_SECONDS,
    Action,
    Confirmation,
    Option,
)
from convex_messaging_fastapi.console.actions.words import facts_of, in_words, left_by, letters
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import Fields, fields_of, number, one, query_of
from convex_messaging_fastapi.console.looking import wanted_in
from convex_messaging_fastapi.console.security import Refused
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.operations import MAX_REPLAYS, Job

RATE = 50
_TO = (("handler", "the handler that failed, alone"), ("topic", "the topic: all that read it see it again"))
_ANYWAY = (("", "refuse"), ("yes", "write them: they wait for it"))


async def confirm(desk: Desk, fields: Fields, by: str) -> Confirmation:
    wanted = wanted_in(desk, fields)
    chosen = _chosen(desk, fields)
    kept = fields_of(wanted)
    plain = Confirmation(
        title="",
        says=(),
        shown={},
        options=_options(fields),
        kept=kept,
        back=f"/dead-letters/list?{query_of(kept)}",
    )
    try:
        job = await desk.asked(desk.operations.replay(wanted, by=by, **chosen, dry_run=True), CONFIRM_SECONDS)
    except Refused as refused:
        if refused.status != 409:
            raise
        return replace(plain, title="It would be refused", says=(refused.help,))
    if not job.selected:
        says = ("No letter that is meant can be replayed now.", *job.notes)
        return replace(plain, title="There is nothing to replay", says=says, left=left_by(job))
    return replace(
        plain,
        title=f"Replay {letters(job.selected)}?",
        says=tuple(_says(job)),
        shown={**kept, **_kept(fields), "expected": (str(job.selected),)},
        button=f"Replay {letters(job.selected)}",
        facts=(*facts_of(wanted, job), ("At most", f"{chosen['rate']:g} letters a second")),
        left=left_by(job),
    )


async def act(desk: Desk, fields: Fields, by: str, reason: str) -> str:
    wanted, chosen = wanted_in(desk, fields), _chosen(desk, fields)
    expected = number(one(fields, "expected"), "expected")
    deed = desk.operations.replay(wanted, by=by, **chosen, expected=expected, dry_run=False)
    job = await desk.done_within(deed, DO_SECONDS)
    if job is None:
        return "/jobs?done=long"
    if job.status == "planned":
        raise Refused(
            409, "None of these letters is left to be replayed.", f"Meant were: {in_words(wanted)}."
        )
    return f"/jobs/{job.id}"


def _says(job: Job) -> Iterator[str]:
    if job.target == "topic":
        yield (
            f"{letters(job.selected)} would be written to the topics of their messages: all who read those "
            "see them again, also who has handled them already."
        )
    else:
        yield f"{letters(job.selected)} would go to the handlers that failed, once each, and to nobody else."
    yield "Handlers must be able to handle a message again (idempotent). It can be stopped, and run again."
    yield from job.notes


def _chosen(desk: Desk, fields: Fields) -> dict[str, Any]:
    """Raises `Refused` for what cannot be meant."""
    with desk.refusing():
        return _read(fields)


def _read(fields: Fields) -> dict[str, Any]:
    rate, limit, most = one(fields, "rate"), one(fields, "limit"), one(fields, "max_replays")
    to = one(fields, "to") or "handler"
    if to not in ("handler", "topic"):
        raise ConfigurationError("a replay goes to the handler, or to the topic")
    return {
        "rate": float(number(rate, "rate") if rate else RATE),
        "limit": number(limit, "limit") if limit else None,
        "to": to,
        "handler": one(fields, "handler_to") or None,
        "into": one(fields, "into") or None,
        "max_replays": number(most, "max_replays") if most else MAX_REPLAYS,
        "anyway": one(fields, "anyway") == "yes",
    }


_KEPT = ("rate", "limit", "to", "handler_to", "into", "max_replays", "anyway")


def _kept(fields: Fields) -> Mapping[str, tuple[str, ...]]:
    return {name: (said,) for name in _KEPT if (said := one(fields, name))}


def _options(fields: Fields) -> tuple[Option, ...]:
    return (
        Option("rate", "Letters a second", one(fields, "rate") or str(RATE), kind="number"),
        Option("limit", "At most so many letters (empty: all)", one(fields, "limit"), kind="number"),
        Option("to", "To", one(fields, "to") or "handler", _TO),
        Option("handler_to", "Another handler than the one that failed", one(fields, "handler_to")),
        Option("into", "Group of letters that name none", one(fields, "into")),
        Option(
            "max_replays",
            "Leave what was replayed so often",
            one(fields, "max_replays") or str(MAX_REPLAYS),
            kind="number",
        ),
        Option("anyway", "Where nobody reads the copies now", one(fields, "anyway"), _ANYWAY),
    )


REPLAY = Action("replay", "/dead-letters/replay", confirm, act)
