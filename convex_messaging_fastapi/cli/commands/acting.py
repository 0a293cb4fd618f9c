"""`dead-letters replay`, `discard`, `reopen`, `jobs` and `stop`: what is done about letters."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace as changed
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.commands.filters import FILTER, OPEN_ALONE, Wanted, words_of
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.output import plain
from convex_messaging_fastapi.cli.session import Session
from convex_messaging_fastapi.cli.words import me

if TYPE_CHECKING:
    from convex_messaging_fastapi.operations import Job, Operations

_LOOK_SECONDS = 0.25

_WORDS = {"replay": "replayed", "discard": "discarded", "reopen": "opened again"}

Ids = Annotated[list[str] | None, typer.Argument(help="Letters, as 2/517; or none, and a filter.")]
By = Annotated[str | None, typer.Option("--by", help="Who does it; without, the user of this machine.")]
Expect = Annotated[
    int | None, typer.Option("--expect", min=0, help="How many the dry run told: of more none is touched.")
]
Plainly = Annotated[
    bool,
    typer.Option(
        "--without-transaction", help="Where transactions are forbidden: a kill may repeat a letter."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")]


def add_to(letters: typer.Typer) -> None:
    command(letters, "replay", shared=FILTER)(replay)
    command(letters, "discard", shared=FILTER)(discard)
    command(letters, "reopen")(reopen)
    command(letters, "jobs")(jobs)
    command(letters, "stop")(stop)


Rate = Annotated[float, typer.Option("--rate", min=0.001, help="Letters a second.")]
ToTopic = Annotated[
    bool, typer.Option("--to-topic", help="To the original topic, where all its groups see it again.")
]
ToHandler = Annotated[
    str | None, typer.Option("--to-handler", help="To this one of its group, not to the one that failed.")
]
MaxReplays = Annotated[
    int, typer.Option("--max-replays", min=1, help="Letters that were replayed so often are left.")
]
AllowTopic = Annotated[list[str] | None, typer.Option("--allow-topic", help="Copies may go there, too.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Also where no member of the group reads copies now.")]


async def replay(
    session: Session,
    wanted: Wanted,
    ids: Ids = None,
    rate: Rate = 50.0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Letters at most.")] = None,
    to_topic: ToTopic = False,
    to_handler: ToHandler = None,
    into: Annotated[str | None, typer.Option("--into", help="The group, of letters that tell none.")] = None,
    max_replays: MaxReplays = 3,
    allow_topic: AllowTopic = None,
    anyway: Anyway = False,
    by: By = None,
    expect: Expect = None,
    without_transaction: Plainly = False,
    yes: Yes = False,
) -> ExitCode:
    """Have failed messages handled again, once each, at a rate.

    By the handler that failed, unless you say otherwise. A dry run until --yes. Stopped or killed, it goes
    on where it was when it is run again.
    """
    how: dict[str, Any] = {
        "rate": rate,
        "limit": limit,
        "to": "topic" if to_topic else "handler",
        "handler": to_handler,
        "into": into,
        "max_replays": max_replays,
        "allow_topics": tuple(allow_topic or ()),
        "anyway": anyway,
        "without_transaction": without_transaction,
    }
    async with session.operations() as ops:
        job = await ops.replay(_chosen(wanted, ids), by=by or me(), expected=expect, dry_run=not yes, **how)
        await _refuse_unknown(ops, job, ids)
        words = [*(ids or ()), *words_of(wanted), *_words_of_replay(how)]
        return await _carried_out(session, ops, job, words, done=yes, shown=expect)


_WITH_VALUES = (
    ("rate", "--rate", 50.0),
    ("limit", "--limit", None),
    ("handler", "--to-handler", None),
    ("into", "--into", None),
    ("max_replays", "--max-replays", 3),
)


def _words_of_replay(how: dict[str, Any]) -> list[str]:
    """The options that say so, but for what is so without them."""
    words = ["--to-topic"] if how["to"] == "topic" else []
    for name, option, default in _WITH_VALUES:
        if (value := how[name]) != default:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    for topic in how["allow_topics"]:
        words += ["--allow-topic", topic]
    words += [f"--{name.replace('_', '-')}" for name in ("anyway", "without_transaction") if how[name]]
    return words


async def discard(
    session: Session,
    wanted: Wanted,
    reason: Annotated[str, typer.Option("--reason", help="Why nobody needs to handle them.")],
    ids: Ids = None,
    by: By = None,
    expect: Expect = None,
    without_transaction: Plainly = False,
    yes: Yes = False,
) -> ExitCode:
    """Mark letters as done with, for a reason.

    They stay in their topic, and can be opened again. A dry run until --yes.
    """
    chosen = _chosen(wanted, ids)
    async with session.operations() as ops:
        job = await ops.discard(
            chosen,
            by=by or me(),
            reason=reason,
            expected=expect,
            dry_run=not yes,
            without_transaction=without_transaction,
        )
        await _refuse_unknown(ops, job, ids)
        plainly = ["--without-transaction"] if without_transaction else []
        words = [*(ids or ()), *words_of(wanted), "--reason", reason, *plainly]
        return await _carried_out(session, ops, job, words, done=yes, shown=expect)


async def reopen(
    session: Session,
    ids: Annotated[list[str], typer.Argument(help="Letters, as 2/517.")],
    by: By = None,
    without_transaction: Plainly = False,
) -> ExitCode:
    """Open letters again that were replayed or discarded."""
    async with session.operations() as ops:
        job = await ops.reopen(tuple(ids), by=by or me(), without_transaction=without_transaction)
        if not job.selected:
            raise Ended(ExitCode.NOT_FOUND, f"there is none of {', '.join(ids)}: see dead-letters list")
        return await _carried_out(session, ops, job, [], done=True)


async def jobs(session: Session) -> None:
    """List what was done about letters, and is under way."""
    async with session.operations() as ops:
        found = await ops.jobs()
    if session.out.as_json:
        session.out.json(plain(found))
        return
    rows = [
        (job.id, job.kind, job.status, f"{job.done:,} of {job.selected:,}", job.by, _time(job), job.error)
        for job in found
    ]
    session.out.table(("JOB", "KIND", "STATUS", "DONE", "BY", "STARTED", "ERROR"), rows)


async def stop(
    session: Session,
    job: Annotated[str, typer.Argument(help="Its id, of `dead-letters jobs`.")],
    by: By = None,
) -> None:
    """Stop a job, wherever it runs.

    It ends between two of its transactions: what it had done is done, once each.
    """
    async with session.operations() as ops:
        try:
            stopped = await ops.stop_job(job, by=by or me())
        except LookupError as error:
            raise Ended(ExitCode.NOT_FOUND, str(error) or f"there is no job {job}") from error
    _tell(session, stopped)


def _chosen(wanted: Wanted, ids: Sequence[str] | None) -> Wanted:
    return changed(wanted, ids=tuple(ids)) if ids else wanted


async def _refuse_unknown(ops: Operations, job: Job, ids: Sequence[str] | None) -> None:
    """Raises `LetterNotFound`: an id that is misspelt is not one about which there is nothing to do."""
    if not job.selected and not job.refused:
        for id in ids or ():
            await ops.dead_letter(id)


async def _carried_out(
    session: Session,
    ops: Operations,
    job: Job,
    words: Iterable[str],
    *,
    done: bool,
    shown: int | None = None,
) -> ExitCode:
    """What was planned, with the command that does it; or what was done, once it is over."""
    if not job.selected and not job.refused:
        session.out.say(OPEN_ALONE)
    if not done:
        _tell(session, job)
        again = ["convex-messaging", "dead-letters", job.kind, *session.words, *words]
        if job.selected and not session.out.as_json:
            session.out.line(shlex.join([*again, "--expect", str(job.selected), "--yes"]))
        return ExitCode.OK
    if shown is not None and job.selected < shown:
        session.out.say(f"{shown:,} were shown, and {job.selected:,} match by now")
    job = await _followed(session, ops, job)
    _tell(session, job)
    if job.status == "failed":
        raise Ended(ExitCode.AWAY, f"{session.done}: {job.error}")
    is_well = job.status in ("done", "planned") and not job.refused and not job.failed_again
    return ExitCode.OK if is_well else ExitCode.WRONG


async def _followed(session: Session, ops: Operations, job: Job) -> Job:
    import asyncio

    if job.is_over or not job.selected:
        return job
    ending = asyncio.ensure_future(ops.wait_for(job.id))
    try:
        while not ending.done():
            now = ops.job(job.id) or job
            so_far = f"{now.done:,} of {now.selected:,} {_WORDS[job.kind]}"
            session.done = f"{so_far}; run the same command to go on"
            session.out.progress(so_far)
            await asyncio.wait({ending}, timeout=_LOOK_SECONDS)
        return await ending
    finally:
        ending.cancel()


def _tell(session: Session, job: Job) -> None:
    if session.out.as_json:
        session.out.json(plain(job))
        return
    for name, value in _told(job):
        session.out.line(f"{name:<10} {value}")


def _told(job: Job) -> list[tuple[str, Any]]:
    planned = job.status == "planned"
    letters = "letter" if job.selected == 1 else "letters"
    count = (
        f"{job.selected:,} {letters} would be" if planned else f"{job.done:,} of {job.selected:,} {letters}"
    )
    told: list[tuple[str, Any]] = [
        (job.status, f"{count} {_WORDS[job.kind]}"),
        *(("group", group) for group in job.groups),
        *(("to", topic) for topic in job.topics),
        *(("seen by", f"{group}, which sees them again") for group in job.seen_by),
        *(("left", f"{number:,}: {why.replace('_', ' ')}") for why, number in job.refused.items()),
        ("failed", f"{job.failed_again:,} failed again" if job.failed_again else ""),
        *(("note", note) for note in job.notes),
        ("error", job.error),
    ]
    return [(name, value) for name, value in told if value]


def _time(job: Job) -> str:
    return job.started_at.isoformat(timespec="seconds").replace("+00:00", "Z")
