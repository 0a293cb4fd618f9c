"""Puts letters into rows and groups while they are read, and joins those that are one. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from convex_messaging_fastapi.messages.copies import MAX_LETTER
from convex_messaging_fastapi.operations.known_states import KnownStates
from convex_messaging_fastapi.operations.letters import (
    Fields,
    GroupKey,
    Told,
    frame_of,
    group_id_of,
    group_key_of,
    replayed_from,
    replays,
    time,
    told_of,
    value_text,
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
_MAX_NAME = 2000
_MAX_IDENTITY = 64
_MAX_ERROR = 500
_MAX_FIELDS = 8 * 1024
"""Bytes of a letter whose fields a group holds as they are; of a larger one it holds only what is shown."""


class FoundGroup:
    """Letters that failed alike, and what is shown of the newest: of the open ones, if there are any."""

    __slots__ = ("_fields", "id", "is_open", "key", "row", "timestamp_ms")

    def __init__(self, key: GroupKey) -> None:
        self.key = key
        self.id = group_id_of(key)
        self._fields: Fields = {}
        self.row = -1
        self.timestamp_ms = -1
        self.is_open = False

    def see(self, row: int, record: Record, told: Told, *, is_open: bool) -> None:
        """Show this letter if it is newer than the one that is shown now."""
        if (is_open, record.timestamp_ms) < (self.is_open, self.timestamp_ms):
            return
        self.row, self.timestamp_ms, self.is_open = row, record.timestamp_ms, is_open
        self._fields = told.fields
        if len(record.value or b"") > _MAX_FIELDS:
            self._fields = {"ErrorMessage": self.error, "Frame": self.frame}

    @property
    def error(self) -> str:
        error = self._fields.get("ErrorMessage")
        return error[:_MAX_ERROR] if isinstance(error, str) else ""

    @property
    def frame(self) -> str | None:
        frame = frame_of(self._fields)
        return None if frame is None else frame[:_MAX_ERROR]


class Found:
    """The letters of one scan so far. `text`, if given, is looked for in error, key and value."""

    def __init__(self, states: KnownStates, text: str | None = None) -> None:
        self.rows = Rows()
        self.groups: list[FoundGroup] = []
        self.replayed: list[tuple[int, str, str]] = []
        """Letters of replays that failed: the row, the letter that was replayed, and the job."""
        self._states = states
        self._text = None if text is None else text.lower()
        self._by_key: dict[GroupKey, int] = {}
        self._known: dict[tuple[object, ...], int] = {}
        self._first: dict[str, dict[bytes, int]] = {}
        self._alike: dict[tuple[str, bytes], list[int]] = {}
        self._where, self._kept, self._all_are_open = 0, states.of_partition(_NOWHERE), False

    @property
    def looks_into_messages(self) -> bool:
        return self._text is not None

    def begin(self, where: TopicPartition) -> None:
        """The letters that are taken from now on are of this partition."""
        self._where = self.rows.number_of(where)
        self._kept = self._states.of_partition(where)
        self._all_are_open = not self._kept and not self._states.problem

    def take(self, record: Record, told: Told) -> None:
        """One letter. Each passes here, so that nothing is called that most letters do not need."""
        fields = told.fields
        group, failed_at = self._group(told), time(fields.get("FailedAt"))
        count = replays(fields) if fields.get("ReplayCount") else 0
        is_open = self._all_are_open or self._state(record) == "open"
        row = self.rows.add(
            self._where,
            record.offset,
            record.timestamp_ms,
            record.timestamp_ms if failed_at is None else int(failed_at.timestamp() * 1000),
            group,
            count,
            _OPEN if is_open else CODES[self._state(record)],
            self._text is None or self._holds_text(told, record),
        )
        self.groups[group].see(row, record, told, is_open=is_open)
        if told.identity is not None:
            self._note_identity(row, record.topic, told.identity, count)
        if count and (origin := replayed_from(told)) is not None and len(origin[0]) <= MAX_LETTER:
            self.replayed.append((row, *origin))

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

    def _group(self, told: Told) -> int:
        """The number of the letter's group. Most letters are of one that is known by what they say."""
        fields = told.fields
        frame, kind = fields.get("Frame"), fields.get("ExceptionType")
        said = (
            fields.get("OriginalTopic"),
            fields.get("ConsumerGroup"),
            fields.get("Handler"),
            kind,
            frame,
            # Its fields stand in for a frame.
            fields.get("ErrorMessage") if frame is None and _is_of_decoding(kind) else None,
        )
        can_be_known = frame is not None or said[-1] is not None
        try:
            if can_be_known and (known := self._known.get(said)) is not None:
                return known
        except TypeError:  # a field of the wrong type
            can_be_known = False
        group = self._number_of(group_key_of(told))
        if can_be_known and len(self._known) < _MAX_KNOWN and _are_short(said):
            self._known[said] = group
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
        found.take(record, told_of(record))
    for _, *others in found.duplicates():
        for row in others:
            found.rows.state[row] = DUPLICATE
    return [record for row, record in enumerate(records) if found.rows.state[row] == CODES["open"]]


def _is_of_decoding(kind: object) -> bool:
    return isinstance(kind, str) and kind.endswith(".DecodeError")


def _are_short(said: tuple[object, ...]) -> bool:
    return all(part is None or (isinstance(part, str) and len(part) <= _MAX_NAME) for part in said)
