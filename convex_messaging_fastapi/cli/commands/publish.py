"""`publish`: one message, or a line each."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.commands.topics import there
from convex_messaging_fastapi.cli.exits import Ended, ExitCode
from convex_messaging_fastapi.cli.inputs import texts
from convex_messaging_fastapi.cli.session import Session, refuse_memory

if TYPE_CHECKING:
    from convex_messaging_fastapi.bus import MessageBus
    from convex_messaging_fastapi.cli.app import Handler
    from convex_messaging_fastapi.receipts import Receipt

_AT_ONCE = 500
"""Lines that are under way together; those of one key stay in order."""


def add_to(root: typer.Typer) -> None:
    command(root, "publish")(publish)


async def publish(
    session: Session,
    topic: Annotated[str, typer.Argument(help="With or without the prefix.")],
    value: Annotated[
        str | None, typer.Argument(help="JSON, any text, @FILE, or - for standard input.", show_default=False)
    ] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="A message a line.")] = False,
    key: Annotated[str | None, typer.Option("--key", help="The same for all.")] = None,
    key_field: Annotated[
        str | None, typer.Option("--key-field", help="The field of the JSON that is the key.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="May be given often.")
    ] = None,
    correlation_id: Annotated[str | None, typer.Option("--correlation-id")] = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0.001, help="Messages a second.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for what was written.")] = False,
) -> None:
    """Publish messages, and say where each was written.

    That is told once all replicas in sync have it. With an app that was named, a message that no handler
    of its topic would take is refused.
    """
    if key is not None and key_field is not None:
        raise Ended(ExitCode.USAGE, "--key or --key-field, not both")
    name = session.topic(topic)
    await _check_target(session, name)
    messages = _Messages(
        key=key,
        key_field=key_field,
        headers=_headers(header or ()),
        correlation_id=correlation_id,
        handlers=[each for each in session.handlers if name in each.topics] if session.is_app_named else [],
    )
    with _source(value) as source:
        await _write_all(session, name, messages, texts(source, a_line_each=jsonl), rate, quiet)


async def _check_target(session: Session, topic: str) -> None:
    """Raises `Ended` where nothing could be written: a publish would find that out after its timeout."""
    refuse_memory(session.settings)
    async with session.inspect() as inspector:
        cluster = await inspector.cluster([topic])
    seen = cluster.topic(topic) if session.settings.create_topics else there(cluster, topic)
    if seen is not None and seen.rights is not None and "WRITE" not in seen.rights:
        raise Ended(ExitCode.REFUSED, f"these credentials lack WRITE on topic {topic}")


@dataclass(frozen=True, slots=True)
class _Message:
    value: bytes
    key: str | None
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Messages:
    """What is the same of all messages, and how each is made of its text."""

    key: str | None
    key_field: str | None
    headers: dict[str, str]
    correlation_id: str | None
    handlers: list[Handler] = field(default_factory=list)

    def made_of(self, text: bytes, number: int) -> _Message:
        """Raises `Ended` that names the line."""
        parsed, is_json = _parsed(text)
        value = text.strip() if is_json else text  # what is no JSON may be anything, to its last byte
        headers = {"content-type": "application/json" if is_json else "application/octet-stream"}
        key = self.key if self.key_field is None else self._key_in(parsed, number)
        self._refuse_what_no_handler_takes(value, number)
        return _Message(value, key, headers | self.headers)

    def _key_in(self, parsed: Any, number: int) -> str:
        found = parsed.get(self.key_field) if isinstance(parsed, dict) else None
        if found is None:
            raise Ended(
                ExitCode.USAGE, f"message {number} has no field {self.key_field!r}: it would have no key"
            )
        return found if isinstance(found, str) else json.dumps(found)

    def _refuse_what_no_handler_takes(self, value: bytes, number: int) -> None:
        from convex_messaging_fastapi.errors import DecodeError

        said = []
        for handler in self.handlers:
            try:
                handler.plan.decode(value)
            except DecodeError as error:
                said.append(f"{handler.declared.id}: {error}")
        if said and len(said) == len(self.handlers):
            raise Ended(ExitCode.WRONG, f"message {number} would not be taken by {'; '.join(said)}")


def _parsed(value: bytes) -> tuple[Any, bool]:
    try:
        return json.loads(value), True
    except ValueError:
        return None, False


def _headers(given: Any) -> dict[str, str]:
    pairs = [(each, *each.partition("=")) for each in given]
    if wrong := [whole for whole, name, equals, _ in pairs if not name or not equals]:
        raise Ended(ExitCode.USAGE, f"--header takes NAME=VALUE, not {wrong[0]}")
    return {name: value for _, name, _, value in pairs}


def _source(value: str | None) -> Any:
    """The bytes that the words on the command line stand for, as an open file."""
    from io import BytesIO

    if value is None and sys.stdin.isatty():
        raise Ended(ExitCode.USAGE, "give a message, @FILE, or - to read standard input")
    if value is None or value == "-":
        return sys.stdin.buffer
    if not value.startswith("@"):
        return BytesIO(value.encode("utf-8", "surrogateescape"))
    try:
        return Path(value[1:]).open("rb")
    except OSError as error:
        raise Ended(ExitCode.USAGE, f"{value[1:]} cannot be read: {error.strerror}") from None


async def _write_all(
    session: Session,
    topic: str,
    messages: _Messages,
    values: AsyncGenerator[list[bytes], None],
    rate: float | None,
    quiet: bool,
) -> None:
    from convex_messaging_fastapi.bus import MessageBus

    written, began = 0, time.monotonic()
    async with MessageBus(session.settings) as bus:
        async for number, batch in _batches(messages, values, 1 if rate else _AT_ONCE):
            if rate:
                await _until(began + number / rate)
            outcomes = await _write(bus, topic, messages, batch)
            receipts = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
            written += len(receipts)
            session.done = f"{written:,} written to {topic}"
            session.out.progress(session.done)
            if not quiet:
                for receipt in receipts:
                    _tell(session, receipt)
                session.out.flush()
            if failed := [outcome for outcome in outcomes if isinstance(outcome, BaseException)]:
                raise failed[0]


async def _batches(
    messages: _Messages, values: AsyncGenerator[list[bytes], None], size: int
) -> AsyncGenerator[tuple[int, list[_Message]], None]:
    """At most so many at a time, never waiting for more; and how many came before each."""
    first = 0
    async for there_now in values:
        for begin in range(0, len(there_now), size):
            batch = there_now[begin : begin + size]
            yield first, [messages.made_of(text, first + number) for number, text in enumerate(batch, 1)]
            first += len(batch)


async def _write(
    bus: MessageBus, topic: str, messages: _Messages, batch: list[_Message]
) -> list[Receipt | BaseException]:
    """Side by side: where each was written, or why not."""
    import asyncio

    calls = [
        bus.publish(
            topic, each.value, key=each.key, headers=each.headers, correlation_id=messages.correlation_id
        )
        for each in batch
    ]
    return await asyncio.gather(*calls, return_exceptions=True)


async def _until(moment: float) -> None:
    import asyncio

    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def _tell(session: Session, receipt: Receipt) -> None:
    if session.out.as_json:
        session.out.json_line(
            {"topic": receipt.topic, "partition": receipt.partition, "offset": receipt.offset}
            | {"timestamp": receipt.timestamp.isoformat()}
        )
    else:
        session.out.line(f"{receipt.topic}/{receipt.partition}/{receipt.offset}")
