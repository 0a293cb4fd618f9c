"""What the log says of one message: that it failed, and what becomes of it."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from convex_messaging_fastapi.events import Buried, Retried
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.messages.headers import MESSAGE_TYPE
from convex_messaging_fastapi.messages.validation_errors import MAX_NAME, one_line
from convex_messaging_fastapi.records import Record, header_text
from convex_messaging_fastapi.reports.lines import say
from convex_messaging_fastapi.reports.mentions import about, counted, key_named, named, place


def retried(event: Retried) -> None:
    """An attempt failed, and another follows."""
    failure = event.failure
    who, kind = _fixed(failure.handler), _fixed(failure.exception_type)
    template = f"{who} failed on %s, attempt %s, again in %s s: {kind}: %s"
    args = named(event.record), failure.attempts, f"{event.delay_seconds:.1f}", failure.text
    _of_message(logging.WARNING, event.record, failure, template, *args)


def buried(event: Buried) -> None:
    """The last attempt failed, and the dead letter is written."""
    letter, tries = event.letter, event.failed_tries
    # A cluster may acknowledge without naming an offset.
    where = f"{letter.topic}/{letter.partition}" + (f"/{letter.offset}" if letter.offset >= 0 else "")
    after = f" (written after {tries} tries that failed)" if tries else ""
    _gave_up(event.record, event.failure, f"its dead letter is {where}{after}")


def cannot_bury(record: Record, failure: Failure, error: Exception, delay_seconds: float) -> None:
    """A dead letter could not be written. Nothing is lost, but the partition waits; said once a message."""
    _gave_up(
        record,
        failure,
        f"its dead letter could not be written ({error}) and is tried again in {delay_seconds:.1f} s; "
        "its partition waits until it is written",
    )


def held(record: Record, failure: Failure) -> None:
    """The last attempt failed, and its subscriber chose `dead_letter="hold"`."""
    _gave_up(record, failure, "it is held and its partition waits")


def discarded(record: Record, failure: Failure) -> None:
    """The last attempt failed, and its subscriber chose `dead_letter="discard"`."""
    _gave_up(record, failure, "it is discarded")


def unhandled(record: Record, group: str) -> None:
    """Every filter of a group refused this record. Said once a topic; further records are only counted."""
    kind = header_text(record.headers, MESSAGE_TYPE)
    shown = "" if kind is None else f", a {one_line(kind, MAX_NAME)}"
    say(
        logging.WARNING,
        f"no handler of group {group} takes {named(record)}{shown}: their filters pass it over. Other "
        f"messages of topic {record.topic} that none takes are only counted: `unhandled` in the bus's status",
        extra=about(record) | {"group": group},
    )


class AtWork(NamedTuple):
    """A handler, or what it has begun, and the message that it is at work on."""

    handler: str
    group: str | None
    record: Record
    attempt: int | None

    def __str__(self) -> str:
        return f"{self.handler} on {named(self.record)}"

    @property
    def about(self) -> dict[str, Any]:
        mine = {"group": self.group, "handler": self.handler, "attempt": self.attempt}
        return about(self.record) | mine


def given_up(work: AtWork, seconds: float, *, runs: bool, left: bool) -> None:
    """A handler was not done after `seconds`, so the next owner of the partition handles the message again.

    `runs`: it is in a thread, which nothing can stop. `left`: the handler is being taken away, so its
    messages do not come to it again.
    """
    state = "goes on in its thread" if runs else "was cancelled"
    end = "is left" if left else "comes again"
    text = f"given up after {max(0.0, seconds):.3g} s: {work} {state}, and the message {end}"
    say(logging.WARNING, text, extra=work.about)


def more_given_up(group: str, number: int) -> None:
    """Many were given up at once: the others, of which each has a line of its own, are not among `number`."""
    say(logging.WARNING, f"group {group} gives up {counted(number, 'more message')} in the same way")


def _gave_up(record: Record, failure: Failure, end: str) -> None:
    """An error: which handler, on which message, and what becomes of it.

    A batch that cannot be read was never handed to a handler; its line names the offsets instead.
    """
    lines = [line.strip() for line in failure.stack.splitlines()]
    told = " | ".join(lines) or f"{failure.exception_type}: {failure.text}"
    if failure.handler is None:
        template = f"group {_fixed(failure.group)} gave up reading %s to %s after %s tries, %s: %s"
        args: tuple[object, ...] = place(record), failure.last_offset, failure.attempts, end, told
    else:
        who, kind = _fixed(failure.handler), failure.exception_type
        template = f"{who} gave up on %s with %s after attempt %s, %s: {_fixed(kind)}: %s"
        told = told.removeprefix(kind).removeprefix(": ").removeprefix(" | ")
        args = named(record), key_named(record.key), failure.attempts, end, told
    _of_message(logging.ERROR, record, failure, template, *args)


def _of_message(level: int, record: Record, failure: Failure, template: str, *args: object) -> None:
    """The template holds the handler and the type of error, and nothing else that varies.

    Collectors of errors group lines by their template.
    """
    mine = {
        "group": failure.group,
        "handler": failure.handler,
        "attempt": failure.attempts,
        "exception_type": failure.exception_type,
    }
    say(level, template, *args, extra=about(record) | mine)


def _fixed(text: str | None) -> str:
    return (text or "").replace("%", "%%")
