"""The tree of commands, and the run of the one that was asked for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from convex_messaging_fastapi import __version__
from convex_messaging_fastapi.cli.command import leave_pipe
from convex_messaging_fastapi.cli.commands import (
    asyncapi,
    dead_letters,
    doctor,
    handlers,
    health,
    lag,
    outbox,
    pausing,
    publish,
    running,
    settings,
    tail,
    topics,
)
from convex_messaging_fastapi.cli.exits import ExitCode
from convex_messaging_fastapi.cli.family import Family

NAME = "convex-messaging"

_EPILOG = (
    "Exit codes: 0 done, 1 looked at and wrong, 2 wrong command, app or settings, 3 no broker or taken over, "
    "4 refused, 5 not found, 130 interrupted."
)


def tree(*, rich: bool) -> typer.Typer:
    """All commands; `rich` where a person reads the help on a terminal."""
    root = typer.Typer(
        name=NAME,
        cls=Family,
        help="Look at and operate the messaging of a service.",
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich" if rich else None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_root)
    daily = (doctor, handlers, settings, running, health, publish, tail, topics)
    for family in (*daily, lag, dead_letters, pausing, outbox, asyncapi):
        family.add_to(root)
    return root


def run() -> int:
    """Do what the arguments say; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows fewer characters
    try:
        tree(rich=sys.stdout.isatty())(prog_name=NAME)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            leave_pipe()
            return ExitCode.OK
        return ended.code if isinstance(ended.code, int) else ExitCode.OK
    except BrokenPipeError:
        leave_pipe()
    return ExitCode.OK


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
]


def _root(version: _Version = False) -> None:
    pass
