"""`relay` and `outbox`: publish what an outbox holds, and look after what cannot be published."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.commands.running import address, listen, log_to_stderr
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.family import family
from convex_messaging_fastapi.cli.finding import attribute_named
from convex_messaging_fastapi.cli.output import plain
from convex_messaging_fastapi.cli.session import Session, refuse_memory

if TYPE_CHECKING:
    from convex_messaging_fastapi.outbox import Outbox

_NO_APP = ("app", "bootstrap_servers")

Named = Annotated[str, typer.Argument(metavar="MODULE:OUTBOX", help="The outbox, as in app:outbox.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="As `outbox parked` lists them.")]
All = Annotated[bool, typer.Option("--all", help="All that are parked.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")]


def add_to(root: typer.Typer) -> None:
    command(root, "relay", without=(*_NO_APP, "json"))(relay)
    outbox = family(root, "outbox", "Messages that wait in a database of yours.")
    command(outbox, "status", without=_NO_APP)(status)
    command(outbox, "parked", without=_NO_APP)(parked)
    command(outbox, "replay", without=_NO_APP)(replay)
    command(outbox, "drop", without=_NO_APP)(drop)


async def relay(
    session: Session,
    outbox: Named,
    host_health: Annotated[
        str | None,
        typer.Option("--host-health", metavar="[HOST]:PORT", help="Answer probes there, at /health/kafka."),
    ] = None,
) -> ExitCode:
    """Publish what an outbox holds, and do nothing else.

    Until SIGTERM or Ctrl-C; a second signal ends it at once. Several processes share the work.
    """
    import asyncio

    from convex_messaging_fastapi.cli.app import settings_of
    from convex_messaging_fastapi.cli.serving import probes

    where = None if host_health is None else address(host_health)
    found = _outbox(session, outbox)
    log_to_stderr(debug=session.options.debug)
    bus = found.relay_alone()
    refuse_memory(settings_of(bus))
    ended, signals = asyncio.Event(), list[int]()
    listen(ended, signals)
    async with bus, nullcontext() if where is None else probes(bus.status, *where):
        session.out.say(f"relaying {found.status().name}; Ctrl-C or SIGTERM ends it")
        await ended.wait()
    await found._engine.dispose()
    return ExitCode.INTERRUPTED if signals[0] == signal.SIGINT else ExitCode.OK


async def status(session: Session, outbox: Named) -> ExitCode:
    """Show how much waits in an outbox, for how long, and who relays it.

    Ends with 1 where messages are parked, or nobody relays it.
    """
    async with _asking(session, outbox) as found:
        backlog, relays = await found.backlog(), await found.live_relays()
    if session.out.as_json:
        session.out.json(plain(backlog) | {"pending": backlog.pending, "relays": relays})
    else:
        oldest = "-" if backlog.oldest_seconds is None else f"{backlog.oldest_seconds:,.0f} s"
        rows = [
            ("relays that live", relays),
            ("messages to be published", backlog.pending),
            ("age of the oldest", oldest),
            ("parked", backlog.parked),
            *((f"held for {topic}", count) for topic, count in sorted(backlog.held.items())),
        ]
        session.out.table(("WHAT", "NOW"), rows)
    return ExitCode.WRONG if backlog.parked or not relays else ExitCode.OK


async def parked(
    session: Session,
    outbox: Named,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
) -> None:
    """List the messages of an outbox that cannot be published as they are, and why."""
    async with _asking(session, outbox) as found:
        messages = await found.parked(limit)
    if session.out.as_json:
        session.out.json(plain(messages))
        return
    columns = ("ID", "TOPIC", "KEY", "MESSAGE ID", "BYTES", "CREATED", "ERROR")
    session.out.table(
        columns,
        [
            (
                each.id,
                each.topic,
                _key(each.key),
                each.message_id,
                each.size,
                f"{each.created_at:%F %T}",
                each.error,
            )
            for each in messages
        ],
    )


async def replay(
    session: Session, outbox: Named, ids: Ids = None, all: All = False, yes: Yes = False
) -> None:
    """Put parked messages back.

    Each comes after all that are in the outbox now, also after newer ones of its key.
    """
    async with _asking(session, outbox) as found:
        chosen = await _chosen(found, ids, all)
        done = await found.replay(chosen) if yes else len(chosen)
    _tell(session, done, "put back", done=yes)


async def drop(session: Session, outbox: Named, ids: Ids = None, all: All = False, yes: Yes = False) -> None:
    """Delete parked messages for ever."""
    async with _asking(session, outbox) as found:
        chosen = await _chosen(found, ids, all)
        done = await found.drop(chosen) if yes else len(chosen)
    _tell(session, done, "deleted for ever", done=yes)


async def _chosen(outbox: Outbox, ids: list[int] | None, all: bool) -> list[int]:
    if bool(ids) == all:
        raise Ended(ExitCode.USAGE, "name messages by their ids, as `outbox parked` lists them, or say --all")
    there = [each.id for each in await outbox.parked(_MOST)]
    if all:
        return there
    if unknown := sorted(set(ids or ()) - set(there)):
        raise Ended(ExitCode.NOT_FOUND, f"no parked message has the id {', '.join(map(str, unknown))}")
    return list(ids or ())


_MOST = 100_000


def _outbox(session: Session, named: str) -> Outbox:
    found = attribute_named(named, session.options.app_dir)
    from convex_messaging_fastapi.outbox import Outbox

    if not isinstance(found, Outbox):
        raise Ended(
            ExitCode.USAGE, f"{named} is {type(found).__name__}, not an Outbox: name it, as in app:outbox"
        )
    return found


@asynccontextmanager
async def _asking(session: Session, named: str) -> AsyncIterator[Outbox]:
    """Raises `Ended` where the database does not answer."""
    outbox = _outbox(session, named)
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield outbox
    except (SQLAlchemyError, OSError) as error:
        kind = type(getattr(error, "orig", None) or error).__name__
        raise Ended(ExitCode.AWAY, f"the database of the outbox cannot be asked: {kind}") from error
    finally:
        await outbox._engine.dispose()  # nobody else has this process


def _key(key: bytes | None) -> str:
    return "-" if key is None else key.decode(errors="backslashreplace")


def _tell(session: Session, count: int, what: str, *, done: bool) -> None:
    messages = "1 message" if count == 1 else f"{count} messages"
    if session.out.as_json:
        session.out.json({"messages": count, "result": what, "done": done})
    elif done:
        session.out.line(f"{messages} {'was' if count == 1 else 'were'} {what}")
    else:
        session.out.line(f"{messages} would be {what}: --yes does it")
