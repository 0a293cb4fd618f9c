"""`run`: the handlers of an app, without a web server."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convex_messaging_fastapi.cli.app import drain_within
from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.session import Session, refuse_memory

if TYPE_CHECKING:
    import asyncio


def add_to(root: typer.Typer) -> None:
    command(root, "run", without=("bootstrap_servers", "json"))(run)


async def run(
    session: Session,
    host_health: Annotated[
        str | None,
        typer.Option("--host-health", metavar="[HOST]:PORT", help="Answer probes there, at /health/kafka."),
    ] = None,
    drain: Annotated[
        float | None, typer.Option("--drain", min=0, help="Seconds that running handlers get at the end.")
    ] = None,
) -> ExitCode:
    """Run the handlers of an app, without a web server.

    In the app's own lifespan, until SIGTERM or Ctrl-C; a second signal ends it at once. Several processes
    share the partitions of their groups.
    """
    where = None if host_health is None else address(host_health)
    session.found  # noqa: B018 - loading the app may set up its log
    log_to_stderr(debug=session.options.debug)
    refuse_memory(session.settings_of_app)
    if drain is not None:
        drain_within(session.bus, session.settings_of_app, drain)
    import asyncio

    from convex_messaging_fastapi.cli.serving import probes

    ended, signals = asyncio.Event(), list[int]()
    listen(ended, signals)
    async with _running(session):
        serving = nullcontext() if where is None else probes(session.bus.status, *where)
        async with serving:
            session.out.say(f"running {_counted(len(session.handlers))}; Ctrl-C or SIGTERM ends it")
            await ended.wait()
            session.out.say("draining; a second signal ends it at once")
    return ExitCode.INTERRUPTED if signals[0] == signal.SIGINT else ExitCode.OK


@asynccontextmanager
async def _running(session: Session) -> AsyncIterator[None]:
    """The bus, in the app that includes it, whose lifespan may open what handlers need."""
    app: Any = session.found.app
    if app is None:
        async with session.bus:
            yield
    else:
        async with app.router.lifespan_context(app):
            yield


def listen(ended: asyncio.Event, signals: list[int]) -> None:
    """Note the signals that end a process, and set `ended` with the first; the second one ends it."""

    def heard(number: int) -> None:
        signals.append(number)
        if len(signals) > 1:
            os._exit(ExitCode.INTERRUPTED)
        ended.set()

    import asyncio

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heard, number)


def _counted(handlers: int) -> str:
    return "1 handler" if handlers == 1 else f"{handlers} handlers"


def address(text: str) -> tuple[str, int]:
    """Host and port of `--host-health`. Raises `Ended` for what is none."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Ended(ExitCode.USAGE, f"--host-health takes HOST:PORT or :PORT, not {text}")
    return host.strip("[]"), int(port)


def log_to_stderr(*, debug: bool) -> None:
    """Unless the app, which must be loaded, has set up logging of its own."""
    ours = logging.getLogger("convex_messaging_fastapi")
    ours.handlers.clear()
    ours.propagate = True
    ours.setLevel(logging.DEBUG if debug else logging.INFO)
    if not logging.getLogger().handlers:
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
