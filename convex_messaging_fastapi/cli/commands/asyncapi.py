"""`asyncapi`: the document of the app, and whether the one on file still is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.session import Session

if TYPE_CHECKING:
    from convex_messaging_fastapi.asyncapi import Change


def add_to(root: typer.Typer) -> None:
    command(root, "asyncapi")(asyncapi)


def asyncapi(
    session: Session,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE", help="Compare a document on file with today's."),
    ] = None,
    breaking: Annotated[
        bool,
        typer.Option("--breaking", help="With --check: tell only what breaks others."),
    ] = False,
) -> ExitCode:
    """Print the AsyncAPI document, or what has changed in it.

    What breaks others: of messages that are received, whatever is refused now and was taken; of messages
    that are sent, a field that is gone or may be, and values that could not come before. Servers do not
    count: they are not the same here, in CI and in production.
    """
    if check is None and breaking:
        raise Ended(ExitCode.USAGE, "--breaking goes with --check FILE")
    from convex_messaging_fastapi.asyncapi.describing import document_of
    from convex_messaging_fastapi.asyncapi.operations import declared_on

    declared = declared_on(session.bus._declarations)
    today = document_of(declared, session.settings_of_app, session.found.app)
    if check is None:
        session.out.json(today)
        return ExitCode.OK
    return _checked(session, check, today, breaking)


def _checked(session: Session, file: Path, today: Any, only_breaking: bool) -> ExitCode:
    found = _changes(file, today)
    broken = [each for each in found if each.breaks]
    told = broken if only_breaking else found
    if session.out.as_json:
        session.out.json([_described(each) for each in told])
    else:
        for each in told:
            session.out.line(f"{each}{' (breaks)' if each.breaks and not only_breaking else ''}")
    session.out.say(_summary(session, file, len(found), len(broken)))
    return ExitCode.WRONG if told else ExitCode.OK


def _changes(file: Path, today: Any) -> list[Change]:
    from convex_messaging_fastapi.asyncapi import NoDocument, changes

    try:
        return changes(json.loads(file.read_bytes()), today)
    except OSError as error:
        raise Ended(ExitCode.USAGE, f"{file} cannot be read: {error.strerror}") from None
    except NoDocument as error:
        raise Ended(ExitCode.USAGE, f"{file} is no AsyncAPI document of version 3: {error}") from None
    except ValueError as error:
        raise Ended(ExitCode.USAGE, f"{file} is not JSON: {error}") from None


def _summary(session: Session, file: Path, changed: int, broken: int) -> str:
    if not changed:
        return f"{file} is today's document"
    which = f"{broken} of which break{'s' * (broken == 1)}" if broken else "none of which breaks"
    counted = f"{changed} change{'s' * (changed > 1)}, {which} others"
    again = shlex.join(["convex-messaging", "asyncapi", *session.words])
    return f"{file} is not today's document: {counted}. To write it anew: {again} > {shlex.quote(str(file))}"


def _described(change: Change) -> dict[str, Any]:
    names = ("kind", "breaks", "topic", "direction", "message", "field")
    return {**{name: getattr(change, name) for name in names}, "sentence": str(change)}
