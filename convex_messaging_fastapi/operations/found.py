"""Puts letters into rows and groups while they are read, and joins those that are one. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from convex_messaging_fastapi.messages.copies import MAX_LETTER
from convex_messaging_fastapi.messages.notes import read_time
from convex_messaging_fastapi.operations.known_states import KnownStates
from convex_messaging_fastapi.operations.letters import (
    Alike,
    Fields,
    GroupKey,
    Told,
    fields_alike,
    frame_of,
    glance_at,
    group_id_of,
    group_key_of,
    replayed_from,
    replays,
    told_of,
    value_text,
    without_message,
)
from convex_messaging_fastapi.operations.rows import CODES, DUPLICATE, Rows
from convex_messaging_fastapi.operations.values import LetterState
from convex_messaging_fastapi.records import Record, TopicPartition

MAX_GROUPS = 5000
"""Letters of further groups are shown as one: somebody writes letters whose names are all different."""

_THE_REST = GroupKey("(others)", "(others)", "(others)", None, None)

_OPEN = CODES["open"]
_NOWHERE = TopicPartition("", 0)

_MAX_KNOWN = 4096
_MAX_ALIKE = 4000
_MAX_IDENTITY = 64
_MAX_ERROR = 500
_MAX_FIELDS = 8 * 1024
"""Bytes of a letter whose fields a group holds as they are; of a larger one it holds only what is shown."""


class FoundGroup:
    """Letters that failed alike, and what is shown of the newest: of the open ones, if there are any."""

    __slots__ = ("_newest", "id", "is_open", "key", "row", "timestamp_ms")

    def __init__(self, key: GroupKey) -> None:
        self.key: GroupKey = key
        self.id: str = group_id_of(key)
        self._newest: Record | Fields = {}
        self.row: int = -1
        self.timestamp_ms: int = -1
        self.is_open: bool = False

    def see(self, row: int, timestamp_ms: int, newest: Record | Fields, *, is_open: bool) -> None:
        """Show this letter if it is newer than the one that is shown now."""
        if timestamp_ms < self.timestamp_ms if is_open is self.is_open else self.is_open:
            return
        self.row, self.timestamp_ms, self.is_open, self._newest = row, timestamp_ms, is_open, newest

    @property
    def error(self) -> str:
        error = self._fields.get("ErrorMessage")
        return error[:_MAX_ERROR] if isinstance(error, str) else ""

    @property
    def frame(self) -> str | None:
        frame = frame_of(self._fields)
        return None if frame is None else frame[:_MAX_ERROR]

    @property
    def _fields(self) -> Fields:
        """Those of the newest letter are read when it is shown: most are followed by a newer one."""
        if isinstance(self._newest, Record):
            self._newest = told_of(self._newest).fields
        return self._newest


class Found:
    """The letters of one scan so far. `text`, if given, is looked for in error, key and value."""

    def __init__(self, states: KnownStates, text: str | None = None) -> None:
        self.rows: Rows = Rows()
        self.groups: list[FoundGroup] = []
        self.replayed: list[tuple[int, str, str]] = []
        """Letters of replays that failed: the row, the letter that was replayed, and the job."""
        self._states = states
        self._text = None if text is None else text.lower()
        self._by_key: dict[GroupKey, int] = {}
        self._known: dict[Alike, int] = {}
        self._first: dict[str, dict[bytes, int]] = {}
        self._alike: dict[tuple[str, bytes], list[int]] = {}
        self._where, self._kept, self._all_are_open = 0, states.of_partition(_NOWHERE), False

    def begin(self, where: TopicPartition) -> None:
        """The letters that are taken from now on are of this partition."""
        self._where = self.rows.number_of(where)
        self._kept = self._states.of_partition(where)
        self._all_are_open = not self._kept and not self._states.problem

    def takes_at_a_glance(self, record: Record) -> bool:
        """Take a letter that need not be parsed, as nearly all; false where it has to be told first."""
        if self._text is not None or (glance := glance_at(record)) is None:
            return False
        alike, failed_at, identity = glance
        if (group := self._known.get(alike)) is None and (group := self._learnt(alike)) is None:
            return False
        newest: Record | Fields = record
        if len(record.value or b"") > _MAX_FIELDS:
            newest = without_message(record)
            if len(newest.value or b"") > _MAX_FIELDS:
                newest = _shown(told_of(newest).fields)
        self._add(record, group, failed_at.decode("utf-8", "replace"), 0, newest, identity)
        return True

    def take(self, record: Record, told: Told) -> None:
        """A letter and what it tells."""
        fields = told.fields
        count = replays(fields)
        matches = self._text is None or self._holds_text(told, record)
        group = self._number_of(group_key_of(told))
        newest = fields if len(record.value or b"") <= _MAX_FIELDS else _shown(fields)
        row = self._add(record, group, fields.get("FailedAt"), count, newest, told.identity)
        self.rows.matches[row] = matches
        if count and (origin := replayed_from(told)) is not None and len(origin[0]) <= MAX_LETTER:
            self.replayed.append((row, *origin))

    def _add(
        self, record: Record, group: int, failed_at: object, count: int, newest: Record | Fields,
        identity: bytes | None,
    ) -> int:  # fmt: skip
        """Each letter passes here, so that nothing is called that most letters do not need."""
        topic, _, offset, timestamp_ms, *_ = record
        at = read_time(failed_at)
        is_open = self._all_are_open or self._state(record) == "open"
        row = self.rows.add(
            self._where,
            offset,
            timestamp_ms,
            timestamp_ms if at is None else int(at.timestamp() * 1000),
            group,
            count,
            _OPEN if is_open else CODES[self._state(record)],
        )
        self.groups[group].see(row, timestamp_ms, newest, is_open=is_open)
        if identity is not None:
            self._note_identity(row, topic, identity, count)
        return row

    def duplicates(self) -> Iterator[list[int]]:
        """Rows of letters about one failure, first the one of the lowest offset, which stands for all."""
        for rows in self._alike.values():
            yield sorted(rows, key=lambda row: (self.rows.where(row), self.rows.offset[row]))

    def _state(self, record: Record) -> LetterState:
        if self._states.problem:
            return "unknown"
        kept = self._kept.get(record.offset)
        if kept is None or not kept.is_about(record.timestamp_ms):
            return "open"
        return kept.state or "unknown"

    def _learnt(self, alike: Alike) -> int | None:
        """The number of a new group. Of what it is made of alone: no letter decides where others belong."""
        if (fields := fields_alike(alike)) is None:
            return None
        group = self._number_of(group_key_of(Told("convex", fields)))
        if len(self._known) < _MAX_KNOWN and sum(map(len, alike)) <= _MAX_ALIKE:
            self._known[alike] = group
        return group

    def _number_of(self, key: GroupKey) -> int:
        if key not in self._by_key and len(self.groups) >= MAX_GROUPS:
            key = _THE_REST
        number = self._by_key.setdefault(key, len(self.groups))
        if number == len(self.groups):
            self.groups.append(FoundGroup(key))
        return number

    def _note_identity(self, row: int, topic: str, identity: bytes, replays: int) -> None:
        if len(identity) > _MAX_IDENTITY:
            identity = hashlib.blake2b(identity).digest()
        if replays:  # older releases gave the letter of a second failure the id of the first one's
            identity += b"/%d" % replays
        first = self._first.setdefault(topic, {}).setdefault(identity, row)
        if first != row:
            self._alike.setdefault((topic, identity), [first]).append(row)

    def _holds_text(self, told: Told, record: Record) -> bool:
        assert self._text is not None  # noqa: S101
        error = told.fields.get("ErrorMessage")
        if isinstance(error, str) and self._text in error.lower():
            return True
        key = (record.key or b"").decode("utf-8", "replace")
        return self._text in key.lower() or self._text in value_text(told, record).lower()


def still_open(letters: Iterable[Record], states: Iterable[Record]) -> list[Record]:
    """The letters about which nothing was done, by the records of the state topic; each failure once."""
    known = KnownStates()
    for record in states:
        known.take(record)
    found, records = Found(known), list(letters)
    for record in records:
        found.begin(record.topic_partition)
        if not found.takes_at_a_glance(record):
            found.take(record, told_of(record))
    for _, *others in found.duplicates():
        for row in others:
            found.rows.state[row] = DUPLICATE
    return [record for row, record in enumerate(records) if found.rows.state[row] == CODES["open"]]


def _shown(fields: Fields) -> Fields:
    """What a group shows, of a letter that is too large to be held."""
    error, frame = fields.get("ErrorMessage"), frame_of(fields)
    return {
        "ErrorMessage": error[:_MAX_ERROR] if isinstance(error, str) else None,
        "Frame": None if frame is None else frame[:_MAX_ERROR],
    }
