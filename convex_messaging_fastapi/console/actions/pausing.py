"""Lets a handler begin nothing new, everywhere or in this process, and lets it go on."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal

from convex_messaging_fastapi.console.actions.shape import DO_SECONDS, Action, Confirmation, Option
from convex_messaging_fastapi.console.actions.words import required
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.forms import Fields, one
from convex_messaging_fastapi.console.security import Refused
from convex_messaging_fastapi.operations import PauseScope, Whom
from convex_messaging_fastapi.status import SubscriptionStatus

_SCOPES = (("fleet", "everywhere, restarts included"), ("process", "in this process, until it stops"))


async def confirm_pause(desk: Desk, fields: Fields, by: str) -> Confirmation:
    whom, scope = _whom(desk, fields), _scope(fields)
    here = _here(desk, whom)
    where = "in all processes of its service" if scope == "fleet" else "in this process alone"
    return Confirmation(
        title=f"Pause {whom.subscription}?",
        says=(
            f"1 handler, {whom.subscription} of group {whom.group}, would begin nothing new {where}.",
            *_what_waits(here),
            "Nothing is lost: its messages wait in Kafka. Other handlers of its topics in the same group "
            "stop with it.",
        ),
        shown=_shown(whom, scope),
        button="Pause it",
        options=(Option("scope", "Where", scope, _SCOPES),),
        kept={"group": (whom.group,), "subscription": (whom.subscription,)},
        reason="optional",
        back="/subscriptions",
    )


async def confirm_resume(desk: Desk, fields: Fields, by: str) -> Confirmation:
    whom, scope = _whom(desk, fields), _scope(fields)
    here = _here(desk, whom)
    where = "everywhere" if scope == "fleet" else "in this process alone"
    paused = here.paused if here is not None else None
    by_whom = (f"It was paused by {paused.by}: {paused.reason or 'no reason was given'}.",) if paused else ()
    return Confirmation(
        title=f"Resume {whom.subscription}?",
        says=(
            f"1 handler, {whom.subscription} of group {whom.group}, would go on {where}.",
            *by_whom,
            *_what_waits(here),
            "Where its breaker is open, that is closed.",
        ),
        shown=_shown(whom, scope),
        button="Resume it",
        options=(Option("scope", "Where", scope, _SCOPES),),
        kept={"group": (whom.group,), "subscription": (whom.subscription,)},
        reason="optional",
        back="/subscriptions",
    )


async def pause(desk: Desk, fields: Fields, by: str, reason: str) -> str:
    whom, scope = _whom(desk, fields), _scope(fields)
    deed = desk.operations.pause(
        whom.subscription, group=whom.group, scope=scope, by=by, reason=reason or None
    )
    return await _said(desk, deed, "paused" if scope == "fleet" else "paused_here")


async def resume(desk: Desk, fields: Fields, by: str, reason: str) -> str:
    whom, scope = _whom(desk, fields), _scope(fields)
    deed = desk.operations.resume(
        whom.subscription, group=whom.group, scope=scope, by=by, reason=reason or None
    )
    return await _said(desk, deed, "resumed" if scope == "fleet" else "resumed_here")


async def _said(desk: Desk, deed: Coroutine[Any, Any, None], word: str) -> str:
    """The address that says so, or that it is not yet known."""

    async def done() -> str:
        await deed
        return word

    return f"/subscriptions?done={await desk.done_within(done(), DO_SECONDS) or 'long'}"


def _whom(desk: Desk, fields: Fields) -> Whom:
    subscription, group = required(fields, "subscription"), one(fields, "group") or None
    with desk.refusing():
        return desk.operations.whom(subscription, group=group)


def _scope(fields: Fields) -> PauseScope:
    scopes: dict[str, Literal["fleet", "process"]] = {"": "fleet", "fleet": "fleet", "process": "process"}
    if (scope := scopes.get(one(fields, "scope"))) is None:
        raise Refused(400, "That cannot be meant.", "A pause is for the fleet, or for this process.")
    return scope


def _here(desk: Desk, whom: Whom) -> SubscriptionStatus | None:
    for worker in desk.bus.status().workers:
        for each in worker.subscriptions:
            if (worker.group, each.id) == whom:
                return each
    return None


def _what_waits(here: SubscriptionStatus | None) -> tuple[str, ...]:
    if here is None:
        return ("It does not run in this process.",)
    return (f"Here it has {here.running:,} messages in hand, and {here.waiting + here.backing_off:,} wait.",)


def _shown(whom: Whom, scope: str) -> dict[str, tuple[str, ...]]:
    return {"group": (whom.group,), "subscription": (whom.subscription,), "scope": (scope,)}


PAUSE = Action("pause", "/subscriptions/pause", confirm_pause, pause)
RESUME = Action("resume", "/subscriptions/resume", confirm_resume, resume)
