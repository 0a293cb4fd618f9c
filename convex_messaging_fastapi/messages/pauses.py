"""What a fleet is told about pauses, as the records of the control topic and back. Pure: no I/O.

A record's key is `pause/{group}/{subscription}`, its value the latest word: to pause, or to go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from convex_messaging_fastapi.messages.notes import note, read_time, told_in, written_time
from convex_messaging_fastapi.messages.validation_errors import one_line
from convex_messaging_fastapi.records import OutgoingRecord, Record

MAX_BY = 64
MAX_REASON = 256
MAX_BYTES = 16 * 1024
"""A longer value is not looked at: one of ours is a tenth of it at most."""

_KEY = "pause/"

PauseScope = Literal["fleet", "process"]
"""`fleet`: all processes of the service, also those that start later. `process`: one, until it stops."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Who has paused a subscription, when, and why."""

    by: str
    at: datetime
    reason: str | None = None
    scope: Literal["fleet", "process"] = "fleet"


class Whom(NamedTuple):
    """The subscription that a word is for."""

    group: str
    subscription: str


Words = dict[Whom, Pause | None]
"""The latest word for each: its pause, or `None` to go on."""


def record_of(whom: Whom, by: str, at: datetime, reason: str | None, *, paused: bool) -> OutgoingRecord:
    """The record to write. Texts are cut to what a word may hold, and are of one line."""
    value = {
        "Paused": paused,
        "By": one_line(by, MAX_BY),
        "At": written_time(at),
        "Reason": None if reason is None else one_line(reason, MAX_REASON),
    }
    return note(_key_of(whom), value)


def word_of(record: Record) -> tuple[Whom, Pause | None] | None:
    """What a record of the control topic says; `None` where that cannot be told.

    Whatever is in it, nothing is raised. A null value means to go on.
    """
    if (whom := _whom(record.key)) is None:
        return None
    if record.value is None:
        return whom, None
    told = told_in(record.value, MAX_BYTES)
    if told.get("Paused") is False:
        return whom, None
    if told.get("Paused") is not True:
        return None
    by, reason = told.get("By"), told.get("Reason")
    at = read_time(told.get("At")) or datetime.fromtimestamp(max(0, record.timestamp_ms) / 1000, UTC)
    return whom, Pause(
        one_line(by, MAX_BY) if isinstance(by, str) else "",
        at,
        one_line(reason, MAX_REASON) if isinstance(reason, str) else None,
    )


def _key_of(whom: Whom) -> bytes:
    # A slash in a group's name would make the key of another pair.
    group = whom.group.replace("%", "%25").replace("/", "%2F")
    return f"{_KEY}{group}/{whom.subscription}".encode("utf-8", "surrogatepass")


def _whom(key: bytes | None) -> Whom | None:
    try:
        text = (key or b"").decode()
    except UnicodeDecodeError:
        return None
    group, slash, subscription = text.removeprefix(_KEY).partition("/")
    if not (text.startswith(_KEY) and slash and group and subscription):
        return None
    return Whom(group.replace("%2F", "/").replace("%25", "%"), subscription)
