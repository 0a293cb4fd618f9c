"""`dead-letters`: what failed, listed, shown, validated, exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.commands import acting
from convex_messaging_fastapi.cli.commands.filters import FILTER, OPEN_ALONE, Wanted
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.family import family
from convex_messaging_fastapi.cli.output import plain, safe_bytes
from convex_messaging_fastapi.cli.session import Session

if TYPE_CHECKING:
    from convex_messaging_fastapi.operations import Letter, LetterGroup, LetterPage

By = Literal["group", "topic", "handler", "type", "letter"]

_LONGEST_ERROR = 80
_HEX_WIDTH = 16


def add_to(root: typer.Typer) -> None:
    words = "Messages that failed: list, validate, replay, discard."
    letters = family(root, "dead-letters", words, alias="dlq")
    command(letters, "list", shared=FILTER)(list_letters)
    command(letters, "show")(show)
    command(letters, "validate", shared=FILTER)(validate)
    command(letters, "export", without=("json",), shared=FILTER)(export)
    acting.add_to(letters)


async def list_letters(
    session: Session,
    wanted: Wanted,
    by: Annotated[By, typer.Option("--by", help="A row for each.")] = "group",
    number: Annotated[int, typer.Option("-n", min=1, max=1000, help="Rows at most.")] = 50,
) -> None:
    """List dead letters, those that failed alike in one row.

    Or, with --by, those of one topic, handler or type in one row, or one by one.
    """
    async with session.operations() as ops:
        page = await ops.dead_letters(wanted, limit=number if by == "letter" or session.out.as_json else 0)
    if session.out.as_json:
        session.out.json(plain(page))
    elif by == "letter":
        session.out.table(("ID", "STATE", "FAILED", "TOPIC", "HANDLER", "ERROR"), map(_row, page.letters))
    elif by == "group":
        columns = ("GROUP", "LETTERS", "TOPIC", "HANDLER", "TYPE", "LAST", "ERROR")
        session.out.table(columns, [_row_of_group(group) for group in page.groups[:number]])
    else:
        session.out.table((by.upper(), "LETTERS", "LAST"), _joined(page.groups, by)[:number])
    _tell_of_page(session, page)
    if page.scanned and not page.matched and wanted.state == "open":
        session.out.say("only open letters are listed: --state all lists those that something was done about")


async def show(
    session: Session,
    id: Annotated[str, typer.Argument(help="As 2/517, of `dead-letters list --by letter`.")],
    raw: Annotated[bool, typer.Option("--raw", help="The failed message alone, byte for byte.")] = False,
    hex: Annotated[bool, typer.Option("--hex", help="The failed message alone, as hexadecimal.")] = False,
) -> None:
    """Show one dead letter whole.

    The message that failed, why, where, and what became of it.
    """
    async with session.operations() as ops:
        letter = await ops.dead_letter(id)
    if raw or hex:
        if letter.value is None:
            raise Ended(ExitCode.NOT_FOUND, f"letter {id} does not hold the message that failed")
        if raw:
            session.out.raw(letter.value)
        else:
            for line in _hex_lines(letter.value):
                session.out.line(line)
    elif session.out.as_json:
        session.out.json(plain(letter))
    else:
        for name, value in _told(letter):
            session.out.line(f"{name:<12} {value}")


async def validate(session: Session, wanted: Wanted) -> ExitCode:
    """Say whether today's handlers would take these messages.

    They are decoded for the handlers of the app, which is needed; none of those is called. That a message
    would be accepted is not to say that its handler succeeds.
    """
    async with session.operations(of_app=True) as ops:
        found = await ops.validate(wanted)
    if session.out.as_json:
        session.out.json(plain(found))
    else:
        rows = [
            (
                each.verdict.replace("_", " "),
                each.count,
                each.group,
                each.handler,
                each.reason,
                each.samples[0],
            )
            for each in found.results
        ]
        session.out.table(("VERDICT", "LETTERS", "GROUP", "HANDLER", "REASON", "SUCH AS"), rows)
        session.out.say(
            f"{found.accepted:,} of {found.checked:,} would be accepted{_because(found.truncated)}"
        )
    if not found.checked:
        session.out.say(OPEN_ALONE)
    return ExitCode.OK if found.accepted == found.checked else ExitCode.WRONG


async def export(session: Session, wanted: Wanted) -> None:
    """Write dead letters as JSON Lines, each whole."""
    from contextlib import aclosing

    count = 0
    async with session.operations() as ops, aclosing(ops.export(wanted)) as letters:
        async for letter in letters:
            session.out.json_line(letter)
            count += 1
            session.done = f"{count:,} exported"
            session.out.progress(session.done)


def _row(letter: Letter) -> tuple[object, ...]:
    state = letter.state.replace("_", " ")
    written = f" (written {letter.written} times)" if letter.written > 1 else ""
    return (
        letter.id,
        f"{state}{written}",
        _time(letter.failed_at),
        letter.origin.topic,
        letter.handler,
        _short(letter.error),
    )


def _row_of_group(group: LetterGroup) -> tuple[object, ...]:
    return (
        group.id,
        _counts(group.counts),
        group.topic,
        group.handler,
        (group.exception_type or "-").rpartition(".")[2],
        _time(group.last),
        _short(group.error),
    )


def _joined(groups: Iterable[LetterGroup], by: By) -> list[tuple[str, int, str]]:
    """The groups of one topic, handler or type together, the most letters first."""
    of: Mapping[str, Callable[[LetterGroup], str]] = {
        "topic": lambda group: group.topic,
        "handler": lambda group: group.handler,
        "type": lambda group: group.exception_type or "-",
    }
    counts, last = Counter[str](), dict[str, datetime]()
    for group in groups:
        name = of[by](group)
        counts[name] += group.total
        last[name] = max(group.last, last.get(name, group.last))
    return [(name, count, _time(last[name])) for name, count in counts.most_common()]


def _counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in counts.items())


def _tell_of_page(session: Session, page: LetterPage) -> None:
    letters = "letter" if page.matched == 1 else "letters"
    session.out.say(f"{page.matched:,} {letters}, of {page.scanned:,} looked at{_because(page.truncated)}")
    if not page.states_known:
        session.out.say(f"warning: what became of them is not known: {page.states_problem}")


def _because(truncated: str) -> str:
    return f"; {truncated}" if truncated else ""


def _told(letter: Letter) -> list[tuple[str, object]]:
    """What a person reads, a line each; what is not known is left out."""
    origin = letter.origin
    told: list[tuple[str, object]] = [
        ("letter", f"{letter.id} ({letter.kind})"),
        ("state", letter.state.replace("_", " ")),
        ("failed", _time(letter.failed_at)),
        (
            "topic",
            origin.topic if origin.offset is None else f"{origin.topic}/{origin.partition}/{origin.offset}",
        ),
        ("group", letter.group),
        ("handler", letter.handler),
        ("attempts", letter.attempts),
        ("replays", letter.replay_count or None),
        ("error", f"{letter.exception_type or 'unknown'}: {letter.error}"),
        ("frame", letter.frame),
        ("message-id", letter.message_id),
        ("expires", letter.expires_at and f"after {_time(letter.expires_at)}"),
        ("failed as", letter.failed_as),
        ("replay of", letter.replay_of),
        *(
            ("history", f"{_time(each.at)} {each.state} by {each.by}{_because(each.reason or '')}")
            for each in letter.history
        ),
        ("key", safe_bytes(letter.key)),
        *(("header", f"{name}: {safe_bytes(value)}") for name, value in letter.headers),
        ("value", safe_bytes(letter.value)),
        *(("stack", line) for line in (letter.stack or "").splitlines()),
    ]
    return [(name, value) for name, value in told if value is not None]


def _hex_lines(value: bytes) -> Iterable[str]:
    for at in range(0, len(value), _HEX_WIDTH):
        part = value[at : at + _HEX_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{at:08x}  {part.hex(' '):<47}  {text}"


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}..."
