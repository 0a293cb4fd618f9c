"""`lag`: how far groups are behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.output import plain
from convex_messaging_fastapi.cli.session import Session

if TYPE_CHECKING:
    from convex_messaging_fastapi.operations import PartitionLag


def add_to(root: typer.Typer) -> None:
    command(root, "lag")(lag)


Watch = Annotated[float | None, typer.Option("--watch", min=0.5, help="Look again after so many seconds.")]
FailOver = Annotated[
    int | None, typer.Option("--fail-over", min=0, help="End with 1 if a group is behind by more messages.")
]
FailOverSeconds = Annotated[
    float | None,
    typer.Option("--fail-over-seconds", min=0, help="End with 1 if a group is behind by more seconds."),
]


async def lag(
    session: Session,
    groups: Annotated[list[str] | None, typer.Argument(help="By default those of the app.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="Of this one alone.")] = None,
    watch: Watch = None,
    fail_over: FailOver = None,
    fail_over_seconds: FailOverSeconds = None,
) -> ExitCode:
    """Show how far groups are behind.

    In messages that are not committed, and in the age of the first of them.
    """
    name = None if topic is None else session.topic(topic)
    asked = groups or _groups(session)
    while True:
        told = [each for each in await _told(session, asked) if name in (None, each.topic)]
        _show(session, told, again=watch is not None)
        if watch is None:
            code = _code(told, fail_over, fail_over_seconds)
            if code is ExitCode.OK:
                _refuse_unknown(asked, told, name)
            return code
        session.out.flush()
        await _seconds_pass(watch)


async def _told(session: Session, groups: Sequence[str]) -> list[PartitionLag]:
    async with session.operations() as ops:  # new ones each time: they give one answer for five seconds
        return [each for group in groups for each in await ops.lag(group=group)]


async def _seconds_pass(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


def _groups(session: Session) -> list[str]:
    if session.is_app_named:
        return list(dict.fromkeys(handler.group for handler in session.handlers))
    return [session.settings.consumer_group]


def _show(session: Session, told: Sequence[PartitionLag], *, again: bool) -> None:
    if session.out.as_json and again:
        for each in told:
            session.out.json_line(plain(each))
    elif session.out.as_json:
        session.out.json(plain(told))
    else:
        columns = ("GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND")
        session.out.table(columns, map(_row, told))


def _row(each: PartitionLag) -> tuple[object, ...]:
    seconds = "-" if each.time_lag_seconds is None else f"{each.time_lag_seconds:,.0f} s"
    numbers = ("-" if number is None else number for number in (each.committed, each.end, each.lag))
    return each.group, each.topic, each.partition, *numbers, seconds


def _refuse_unknown(groups: Sequence[str], told: Sequence[PartitionLag], topic: str | None) -> None:
    """Of a name that is misspelt nothing is behind, so an alarm on it would never be raised."""
    known = {each.group for each in told}
    if unknown := [group for group in groups if group not in known]:
        where = "" if topic is None else f" on topic {topic}"
        raise Ended(
            ExitCode.NOT_FOUND,
            f"nothing is known of group {', '.join(unknown)}{where}: it has committed nothing and has no "
            "member. Is it spelt as `convex-messaging handlers` lists it, and has its service run?",
        )


def _code(told: Sequence[PartitionLag], messages: int | None, seconds: float | None) -> ExitCode:
    behind: dict[str, int] = {}
    for each in told:
        behind[each.group] = behind.get(each.group, 0) + (each.lag or 0)
    over = messages is not None and any(count > messages for count in behind.values())
    late = seconds is not None and any((each.time_lag_seconds or 0) > seconds for each in told)
    return ExitCode.WRONG if over or late else ExitCode.OK
