"""How a function becomes a command: its common options, its run, and what is said when it fails."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from convex_messaging_fastapi.cli.exits import Ended, ExitCode, code_of
from convex_messaging_fastapi.cli.quiet import be_quiet
from convex_messaging_fastapi.cli.session import Options, Session

F = TypeVar("F", bound=Callable[..., Any])

_COMMON = {
    "app": Annotated[
        str | None,
        typer.Option(
            "--app", metavar="MODULE:ATTRIBUTE", help="The app, its bus, or a function that makes one."
        ),
    ],
    "app_dir": Annotated[Path, typer.Option("--app-dir", help="The folder that the app's module is in.")],
    "bootstrap_servers": Annotated[
        str | None,
        typer.Option(
            "--bootstrap-servers", metavar="HOST:PORT,...", help="Another cluster than the settings'."
        ),
    ],
    "json": Annotated[bool, typer.Option("--json", help="JSON instead of a table.")],
    "debug": Annotated[bool, typer.Option("--debug", help="The whole trace of an error, and all log lines.")],
}


_AGAINST = {
    "no_live_member": "--anyway",
    "not_subscribed": "--to-topic",
    "no_group": "--to-topic",
    "no_transactions": "--without-transaction",
    "target_not_allowed": "--allow-topic",
}
"""The option for what a refusal, in words of Python, says may be done all the same."""


class Shared(NamedTuple):
    """Options that several commands have, each with its default, and what is made of them: one argument."""

    name: str
    options: Mapping[str, tuple[Any, Any]]
    make: Callable[..., Any]


def command(
    family: typer.Typer, name: str, *, without: tuple[str, ...] = (), shared: Shared | None = None
) -> Callable[[F], F]:
    """Make a command of a function that takes a `Session` first, then its own options.

    It may be async, and may return an `ExitCode`. `without` are common options that mean nothing to it.
    """
    common = {option: kind for option, kind in _COMMON.items() if option not in without}

    def declare(function: F) -> F:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        called = function if shared is None else _taking(function, shared)
        if shared is not None:
            own = [each for each in own if each.name != shared.name]
            own += [_parameter(option, *kind) for option, kind in shared.options.items()]

        def run(**given: Any) -> None:
            options = Options(**{option: given.pop(option) for option in common})
            raise typer.Exit(perform(Session(options), called, given))

        run.__doc__ = function.__doc__
        parameters = [*own, *(_option(option, kind) for option, kind in common.items())]
        keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in keyword}
        family.command(name)(run)
        return function

    return declare


def perform(session: Session, function: Callable[..., Any], given: dict[str, Any]) -> ExitCode:
    """Run it, and say in one line why it failed; with what code this process ends."""
    be_quiet(session.out, debug=session.options.debug)
    try:
        answer = _run(function(session, **given))
        session.out.flush()
    except BrokenPipeError:
        leave_pipe()
        return ExitCode.OK
    except KeyboardInterrupt:
        session.out.say(f"interrupted{f': {session.done}' if session.done else ''}")
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told in one line
        _tell(session, error)
        return code_of(error)
    return answer if isinstance(answer, ExitCode) else ExitCode.OK


def leave_pipe() -> None:
    """Whoever read our output has seen enough, which is no error; nor is it one at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _taking(function: Callable[..., Any], shared: Shared) -> Callable[..., Any]:
    def call(session: Session, **given: Any) -> Any:
        made = shared.make(**{option: given.pop(option) for option in shared.options})
        return function(session, **{shared.name: made}, **given)

    return call


def _option(name: str, kind: Any) -> inspect.Parameter:
    return _parameter(name, kind, getattr(Options(), name))


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _run(answer: Any) -> Any:
    if not inspect.iscoroutine(answer):
        return answer
    import asyncio

    return asyncio.run(_interruptible(answer))


async def _interruptible(answer: Coroutine[Any, Any, Any]) -> Any:
    """Ctrl-C ends the command alone, and not what it needs to end well; a second one ends all."""
    import asyncio

    loop, command, heard = asyncio.get_running_loop(), asyncio.current_task(), 0

    def interrupt(number: int, frame: Any) -> None:
        nonlocal heard
        heard += 1
        if command is None or heard > 1:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(command.cancel)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        return await answer
    except asyncio.CancelledError:
        if not heard:
            raise  # it was raised elsewhere, and the loop cancels what is left
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(session: Session, error: Exception) -> None:
    if session.options.debug:
        traceback.print_exception(error)
    for line in _lines(error):
        session.out.say(line)


def _lines(error: Exception) -> list[str]:
    from convex_messaging_fastapi.errors import ConfigurationError, MessagingError, ReplayRefused

    if isinstance(error, Ended | MessagingError):
        # Only settings have several things wrong at once.
        text = str(error)
        lines = text.splitlines() if isinstance(error, ConfigurationError) else [text]
        if isinstance(error, ReplayRefused) and (option := _AGAINST.get(error.reason)):
            lines[0] += f" (here: {option})"
        return [f"error: {lines[0]}", *lines[1:]] if text else []
    return [f"error: {type(error).__name__}: {error} (a defect of this package: --debug shows where)"]
