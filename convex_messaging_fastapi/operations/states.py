"""What operators did to letters, as the records of `{prefix}.dlq.state` and back. Pure: no I/O.

A record's key is `letter/{topic}/{partition}/{offset}`, its value the latest change, the place of the copy
that was replayed, and the changes before it. A null value means that the letter is gone, and only that: a
letter that is opened again has the state `open`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast, get_args

from convex_messaging_fastapi.messages.notes import note, read_time, told_in, written_time
from convex_messaging_fastapi.messages.validation_errors import one_line
from convex_messaging_fastapi.operations.values import KeptState, LetterPlace, StateChange
from convex_messaging_fastapi.records import OutgoingRecord, Record

MAX_CHANGES = 10
MAX_BY = 64
MAX_REASON = 256
MAX_STATE_BYTES = 64 * 1024
"""A larger value is not looked at: a state of ours is a tenth of it at most."""

VERSION = 1

_KEY = re.compile(rb"letter/([a-zA-Z0-9._-]{1,249})/([0-9]{1,10})/([0-9]{1,19})")
_STATES: tuple[str, ...] = get_args(KeptState)


class Copy(NamedTuple):
    """The copy of a letter's message that was written to be handled by `group`, and where it stands."""

    group: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class StateOfLetter:
    """What was done to one letter: at least one change, the newest last; `copy` is that of the latest replay.

    It counts only while a letter of exactly this place stands there, timestamp included: a topic that was
    deleted and made anew has other letters at the same offsets.
    """

    place: LetterPlace
    changes: tuple[StateChange, ...]
    copy: Copy | None = None

    @property
    def state(self) -> KeptState:
        return self.changes[-1].state

    def then(self, change: StateChange, copy: Copy | None = None) -> StateOfLetter:
        """The same letter after one more change; of more than `MAX_CHANGES` the oldest are forgotten."""
        return replace(self, changes=(*self.changes, change)[-MAX_CHANGES:], copy=copy or self.copy)


def changed(
    place: LetterPlace, before: StateOfLetter | None, change: StateChange, copy: Copy | None = None
) -> StateOfLetter:
    """The state of the letter at `place` after `change`, whatever is known of another letter there."""
    if before is not None and before.place == place:
        return before.then(change, copy)
    return StateOfLetter(place, (change,), copy)


class Kept(NamedTuple):
    """What is held of a state while letters are read: enough to tell what state a letter is in.

    `state` is `None` where it is `Unclear`, and `timestamp_ms` too where not even that can be read: it may
    be about any letter of this place then. `partition` and `at` say where it stands in the state topic.
    """

    timestamp_ms: int | None
    state: KeptState | None
    copy: Copy | None
    job: str | None
    partition: int
    at: int

    def is_about(self, timestamp_ms: int) -> bool:
        """Whether the letter that stands at its place, with this timestamp, is the one that it is about."""
        return self.timestamp_ms is None or self.timestamp_ms == timestamp_ms


class Unclear(NamedTuple):
    """A letter's state that was written, but not by this release or not as it writes them.

    `timestamp_ms` is the letter's, `None` where not even that can be read.
    """

    timestamp_ms: int | None


def key_of(place: LetterPlace) -> bytes:
    return f"letter/{place.topic}/{place.partition}/{place.offset}".encode()


def record_of(state: StateOfLetter) -> OutgoingRecord:
    """The record to write. Texts are cut to what a state may hold, and are of one line."""
    *before, latest = state.changes
    value: dict[str, Any] = {**_told(latest), "LetterTimestamp": state.place.timestamp_ms}
    if state.copy is not None:
        value["Group"] = state.copy.group
        value["Target"] = state.copy.topic
        value["Copy"] = {"Partition": state.copy.partition, "Offset": state.copy.offset}
    if before:
        value["Before"] = [_told(change) for change in before[1 - MAX_CHANGES :]]
    value["V"] = VERSION
    return note(key_of(state.place), value)


def forgotten(place: LetterPlace) -> OutgoingRecord:
    """What makes the topic forget the state of a letter that is gone."""
    return OutgoingRecord(key_of(place), None)


def place_of_key(key: bytes | None) -> tuple[str, int, int] | None:
    """Topic, partition and offset of the letter that a state is about; `None` for another record's key."""
    found = _KEY.fullmatch(key or b"")
    return None if found is None else (found[1].decode(), int(found[2]), int(found[3]))


def state_of(record: Record) -> StateOfLetter | Unclear | None:
    """What a record of the state topic says about a letter; `None` for null and for what is about no letter.

    Whatever is in it, nothing is raised.
    """
    where = place_of_key(record.key)
    if where is None or record.value is None:
        return None
    told = told_in(record.value, MAX_STATE_BYTES)
    timestamp_ms = _int(told.get("LetterTimestamp"))
    if timestamp_ms is None:
        return Unclear(None)
    latest = _change(told)
    if told.get("V") != VERSION or latest is None:
        return Unclear(timestamp_ms)
    before = told.get("Before")
    earlier = [_change(each) for each in before[-MAX_CHANGES:]] if isinstance(before, list) else []
    changes = (*(change for change in earlier if change is not None), latest)
    return StateOfLetter(LetterPlace(*where, timestamp_ms), changes[-MAX_CHANGES:], _copy(told))


def kept_of(record: Record) -> Kept:
    """What `state_of` says, in short, in a third of the time. The record has a letter's key and a value."""
    told = told_in(record.value or b"", MAX_STATE_BYTES)
    timestamp_ms = _int(told.get("LetterTimestamp"))
    state = told.get("State")
    clear = told.get("V") == VERSION and _is_state(state) and read_time(told.get("At")) is not None
    if timestamp_ms is None or not clear:
        return Kept(timestamp_ms, None, None, None, record.partition, record.offset)
    kept, job = cast("KeptState", state), _text(told.get("Job"))
    return Kept(timestamp_ms, kept, _copy(told), job, record.partition, record.offset)


def _told(change: StateChange) -> dict[str, Any]:
    return {
        "State": change.state,
        "At": written_time(change.at),
        "By": one_line(change.by, MAX_BY),
        "Reason": None if change.reason is None else one_line(change.reason, MAX_REASON),
        "Job": change.job,
    }


def _change(told: Any) -> StateChange | None:
    if not isinstance(told, dict) or not _is_state(told.get("State")):
        return None
    if (at := read_time(told.get("At"))) is None:
        return None
    return StateChange(
        cast("KeptState", told["State"]),
        at,
        _text(told.get("By")) or "",
        _text(told.get("Reason")),
        _text(told.get("Job")),
    )


def _is_state(told: object) -> bool:
    return isinstance(told, str) and told in _STATES


def _copy(told: dict[str, Any]) -> Copy | None:
    group, topic, place = told.get("Group"), told.get("Target"), told.get("Copy")
    if not (isinstance(group, str) and isinstance(topic, str) and isinstance(place, dict)):
        return None
    partition, offset = _int(place.get("Partition")), _int(place.get("Offset"))
    return None if partition is None or offset is None else Copy(group, topic, partition, offset)


def _text(told: object) -> str | None:
    return told if isinstance(told, str) else None


def _int(told: object) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) else None
