"""`doctor`: what is wrong, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.exits import ExitCode
from convex_messaging_fastapi.cli.session import Session

if TYPE_CHECKING:
    from convex_messaging_fastapi.cli.doctor import Finding

_SIGNS = {"good": "✓", "doubtful": "!", "wrong": "✗", "not checked": "-"}


def add_to(root: typer.Typer) -> None:
    command(root, "doctor")(doctor)


async def doctor(
    session: Session,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for each step.")] = 10.0,
) -> ExitCode:
    """Find what is wrong, and say how to mend it.

    Looks between this machine, the settings and the cluster. Writes nothing. Ends with 1 where something
    is wrong; what is doubtful (!) is no failure. With an app its topics, groups and rights are looked at
    as well.
    """
    from convex_messaging_fastapi.cli.doctor import examine

    examination = await examine(session, timeout, lambda finding: _tell(session, finding))
    if session.out.as_json:
        session.out.json(
            [
                {"check": each.check, "mark": each.mark.value, "fact": each.fact, "fix": each.fix or None}
                for each in examination.findings
            ]
        )
    return ExitCode.OK if examination.is_well else ExitCode.WRONG


def _tell(session: Session, finding: Finding) -> None:
    if session.out.as_json:
        return
    session.out.line(f"{_SIGNS[finding.mark.value]} {finding.check:<13} {finding.fact}")
    if finding.fix:
        session.out.line(f"{'':15} -> {finding.fix}")
