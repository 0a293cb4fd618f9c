"""`pause` and `resume`: of one handler, wherever its service runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.session import Session
from convex_messaging_fastapi.cli.words import me

if TYPE_CHECKING:
    from convex_messaging_fastapi.messages.pauses import Whom

Handler = Annotated[str, typer.Argument(help="Its id, as `handlers` lists it.")]
Group = Annotated[
    str | None, typer.Option("--group", help="Its group, where several have a handler of this id.")
]
By = Annotated[str | None, typer.Option("--by", help="Who does it; without, the user of this machine.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for those who find it paused.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")]


def add_to(root: typer.Typer) -> None:
    command(root, "pause")(pause)
    command(root, "resume")(resume)


async def pause(
    session: Session,
    handler: Handler,
    group: Group = None,
    reason: Reason = None,
    by: By = None,
    yes: Yes = False,
) -> None:
    """Let a handler begin nothing new.

    In all processes of its service, within 5 seconds, until `resume`. What runs finishes. Other handlers of
    its topics in the same group soon stop with it.
    """
    async with session.operations() as ops:
        whom = ops.whom(handler, group=group)
        if yes:
            await ops.pause(whom.subscription, group=whom.group, by=by or me(), reason=reason)
    _tell(session, whom, "paused", done=yes)


async def resume(
    session: Session,
    handler: Handler,
    group: Group = None,
    reason: Reason = None,
    by: By = None,
    yes: Yes = False,
) -> None:
    """Let a handler go on that was paused.

    Its breaker closes where that is open.
    """
    async with session.operations() as ops:
        whom = ops.whom(handler, group=group)
        if yes:
            await ops.resume(whom.subscription, group=whom.group, by=by or me(), reason=reason)
    _tell(session, whom, "resumed", done=yes)


def _tell(session: Session, whom: Whom, what: str, *, done: bool) -> None:
    handler = f"{whom.subscription} of group {whom.group}"
    if not session.is_app_named:
        session.out.say("whether that group has this handler was not looked at: name the app with --app")
    if session.out.as_json:
        session.out.json({"handler": whom.subscription, "group": whom.group, "result": what, "done": done})
    elif done:
        session.out.line(f"{handler} is {what}: its processes hear of it within 5 s")
    else:
        session.out.line(f"{handler} would be {what}: --yes does it")
