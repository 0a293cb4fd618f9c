"""`tail`: the messages of a topic, as they are or as they come."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.output import safe_bytes
from convex_messaging_fastapi.cli.session import Session, refuse_memory
from convex_messaging_fastapi.cli.words import moment, size

if TYPE_CHECKING:
    from convex_messaging_fastapi.records import Record, TopicPartition
    from convex_messaging_fastapi.transport.base import LogRange
    from convex_messaging_fastapi.transport.kafka.log_reader import OpenLog

_LOOK_SECONDS = 0.5

Ranges = Mapping["TopicPartition", "LogRange"]


def add_to(root: typer.Typer) -> None:
    command(root, "tail")(tail)


Begin = Annotated[
    str, typer.Option("--from", metavar="latest|earliest|-N|TIME", help="TIME as 2026-11-01T00:00.")
]
End = Annotated[
    str | None, typer.Option("--to", metavar="latest|TIME", help="End there, instead of waiting for more.")
]
Grep = Annotated[
    str | None, typer.Option("--grep", metavar="RE", help="Only those whose key or value matches.")
]
MaxBytes = Annotated[str, typer.Option("--max-bytes", help="Of a value that are shown, as 500 or 64k.")]


async def tail(
    session: Session,
    topic: Annotated[str, typer.Argument(help="With or without the prefix.")],
    begin: Begin = "latest",
    end: End = None,
    number: Annotated[int | None, typer.Option("-n", min=1, help="End after so many.")] = None,
    partition: Annotated[int | None, typer.Option("--partition", min=0)] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only those of this key.")] = None,
    grep: Grep = None,
    exit_at_end: Annotated[bool, typer.Option("--exit-at-end", help="The same as --to latest.")] = False,
    max_bytes: MaxBytes = "64k",
) -> None:
    """Show messages of a topic, and go on showing what comes. Joins no group and commits nothing."""
    name = session.topic(topic)
    wanted = _Wanted(
        begin=_checked(begin),
        until=moment(end) if end not in (None, "latest") else None,
        stops=exit_at_end or end is not None,
        partition=partition,
        matches=_matches(key, grep),
        shown_bytes=size(max_bytes),
    )
    refuse_memory(session.settings)
    from convex_messaging_fastapi.transport.kafka import opened

    shown = 0
    async with opened(session.settings, name) as log:
        async for record in _records(log, name, wanted):
            _show(session, record, wanted.shown_bytes)
            shown += 1
            session.done = f"{shown:,} shown"
            if shown == number:
                return
            if not wanted.stops:
                session.out.flush()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was asked for. `until` is Unix milliseconds."""

    begin: str
    until: int | None
    stops: bool
    partition: int | None
    matches: Callable[[Record], bool]
    shown_bytes: int


async def _records(log: OpenLog, topic: str, wanted: _Wanted) -> AsyncIterator[Record]:
    import asyncio

    ranges = await _ranges(log, topic, wanted)
    last = _last_number(wanted.begin)
    positions = await _begin(log, ranges, wanted.begin)
    if last is not None:
        newest = await _newest(log, ranges, positions, last)
        positions = {where: span.end for where, span in ranges.items()}
        for record in newest:
            if _is_wanted(record, wanted):
                yield record
    while True:
        left = {
            where: span._replace(first=positions.get(where, span.first)) for where, span in ranges.items()
        }
        async for records in log.read(left):
            for record in records:
                if _is_wanted(record, wanted):
                    yield record
        positions |= {where: span.end for where, span in ranges.items()}
        if wanted.stops:
            return
        await asyncio.sleep(_LOOK_SECONDS)
        ranges = await _ranges(log, topic, wanted)


async def _ranges(log: OpenLog, topic: str, wanted: _Wanted) -> Ranges:
    """Raises `Ended` where there is no such topic, or partition."""
    ranges = await log.ranges()
    if not ranges:
        raise Ended(ExitCode.NOT_FOUND, f"there is no topic {topic}: see convex-messaging topics list")
    if wanted.partition is None:
        return ranges
    chosen = {where: span for where, span in ranges.items() if where.partition == wanted.partition}
    if not chosen:
        raise Ended(ExitCode.NOT_FOUND, f"topic {topic} has {len(ranges)} partitions: 0 to {len(ranges) - 1}")
    return chosen


def _checked(begin: str) -> str:
    """Raises `Ended` for what is no place to begin at, before anybody is asked."""
    if begin not in ("earliest", "latest") and _last_number(begin) is None:
        moment(begin)
    return begin


def _last_number(begin: str) -> int | None:
    return int(begin[1:]) if re.fullmatch(r"-[0-9]{1,9}", begin) else None


async def _begin(log: OpenLog, ranges: Ranges, begin: str) -> dict[TopicPartition, int]:
    if begin == "earliest":
        return {where: span.first for where, span in ranges.items()}
    if begin == "latest":
        return {where: span.end for where, span in ranges.items()}
    if (last := _last_number(begin)) is not None:
        return {where: max(span.first, span.end - last) for where, span in ranges.items()}
    return dict(await log.offsets_at(moment(begin), ranges))


async def _newest(
    log: OpenLog, ranges: Ranges, begin: Mapping[TopicPartition, int], number: int
) -> list[Record]:
    """The newest of all partitions together, the oldest first."""
    left = {where: span._replace(first=begin[where]) for where, span in ranges.items()}
    found = [record async for records in log.read(left) for record in records]
    return sorted(found, key=lambda record: record.timestamp_ms)[-number:] if number else []


def _is_wanted(record: Record, wanted: _Wanted) -> bool:
    return (wanted.until is None or record.timestamp_ms < wanted.until) and wanted.matches(record)


def _matches(key: str | None, grep: str | None) -> Callable[[Record], bool]:
    try:
        pattern = None if grep is None else re.compile(grep.encode())
    except re.error as error:
        raise Ended(ExitCode.USAGE, f"--grep is no regular expression: {error}") from None
    wanted = None if key is None else key.encode()

    def matches(record: Record) -> bool:
        if wanted is not None and record.key != wanted:
            return False
        return pattern is None or any(pattern.search(part) for part in (record.key, record.value) if part)

    return matches


def _show(session: Session, record: Record, shown_bytes: int) -> None:
    if session.out.as_json:
        session.out.json_line(_described(record))
        return
    value = record.value
    cut = "" if value is None or len(value) <= shown_bytes else f"... ({len(value):,} bytes)"
    place = f"{record.topic}/{record.partition}/{record.offset}"
    words = (place, _time(record), safe_bytes(record.key), safe_bytes(value and value[:shown_bytes]) + cut)
    session.out.line("  ".join(words))


def _time(record: Record) -> str:
    if record.timestamp_ms < 0:
        return "-"
    return _datetime(record).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _datetime(record: Record) -> datetime:
    from convex_messaging_fastapi.records import utc

    return utc(record.timestamp_ms)


def _described(record: Record) -> dict[str, Any]:
    """All of it, whatever its size; what is no text is base64."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": None if record.timestamp_ms < 0 else _time(record),
        **_text_or_base64("key", record.key),
        **_text_or_base64("value", record.value),
        "headers": [[name, None if value is None else _text(value)] for name, value in record.headers],
    }


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _text_or_base64(name: str, value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {name: None, f"{name}_base64": base64.b64encode(value).decode()}
