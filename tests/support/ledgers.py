"""What handlers of other processes did, as they noted it themselves, and what to conclude from it.

A note is one line of JSON, appended by one `write`, so that a process killed at any moment has
noted all it did. Times are CLOCK_MONOTONIC, which the processes of one machine share.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

FOR_EVER = float("inf")
ENDS = frozenset({"ok", "error", "cancelled"})
"""The notes that end a turn."""


class Note(NamedTuple):
    """`event` is `start`, then `ok`, `error` or `cancelled`; or a moment of the process, with no record.

    `member` names one life of one process: a process that was started again is another member.
    `fetched`: the records from `offset` to `last`, so `many`. `commit`: `offset` is about to
    be committed; `committed`: the cluster accepted it.
    """

    at: float
    event: str
    member: str
    topic: str = ""
    partition: int = -1
    offset: int = -1
    key: str | None = None
    id: int = -1
    epoch: int = -1
    last: int = -1
    many: int = -1

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset)


class Place(NamedTuple):
    """Where a record stands in the log."""

    topic: str
    partition: int
    offset: int


class Turn(NamedTuple):
    """One call of a handler; `end` is for ever when nothing ended it."""

    start: float
    end: float
    member: str
    place: Place
    key: str | None
    is_ok: bool


class Writer:
    """Appends notes of this process to the ledger at `path`."""

    def __init__(self, path: Path | str, name: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._member = f"{name}:{os.getpid()}"

    def note(self, event: str, **about: Any) -> None:
        note = Note(time.monotonic(), event, self._member, **about)
        os.write(self._file, json.dumps(note).encode() + b"\n")


class Reader:
    """All notes so far; reads only what was appended since it last looked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._notes: list[Note] = []
        self._counts: Counter[str] = Counter()

    def notes(self) -> list[Note]:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._read += len(whole) + 1
                new = [Note(*json.loads(line)) for line in whole.split(b"\n")]
                self._notes += new
                self._counts.update(note.event for note in new)
        return self._notes

    def history(self, ended: Mapping[str, float] | None = None) -> History:
        """The turns so far; `ended` says when members were killed, for they noted nothing of it."""
        return History(self.notes(), ended)

    def count(self, event: str) -> int:
        self.notes()
        return self._counts[event]

    def moment(self, event: str, member: str = "") -> float | None:
        """When `event` was first noted, by a member whose name begins so."""
        found = (n.at for n in self.notes() if n.event == event and n.member.startswith(member))
        return next(found, None)


class History:
    """The turns of handlers, in the order they began. Every check answers with what is wrong."""

    def __init__(self, notes: Iterable[Note], ended: Mapping[str, float] | None = None) -> None:
        self.turns = sorted(_turns(notes, ended or {}))

    def handled(self) -> set[Place]:
        return {turn.place for turn in self.turns if turn.is_ok}

    def unhandled(self, written: Iterable[Place]) -> list[Place]:
        """Records of the log that no handler finished."""
        return sorted(set(written) - self.handled())

    def repeated(self) -> dict[Place, int]:
        """How often records were finished, beyond once."""
        times = Counter(turn.place for turn in self.turns if turn.is_ok)
        return {place: count - 1 for place, count in times.items() if count > 1}

    def begun_again(self) -> list[Turn]:
        """Turns of records that had been finished before."""
        finished_at: dict[Place, float] = {}
        for turn in self.turns:
            if turn.is_ok:
                finished_at[turn.place] = min(turn.end, finished_at.get(turn.place, FOR_EVER))
        return [turn for turn in self.turns if turn.start > finished_at.get(turn.place, FOR_EVER)]

    def repeats(self) -> Counter[tuple[str, str, int]]:
        """For each (member, topic, partition): turns begun of records that had been finished before."""
        again = self.begun_again()
        return Counter((turn.member, turn.place.topic, turn.place.partition) for turn in again)

    def unsafe(self, committed: Mapping[tuple[str, int], int], written: Iterable[Place]) -> list[Place]:
        """Records below a committed offset that no handler has finished."""
        below = {p for p in written if p.offset < committed.get((p.topic, p.partition), 0)}
        return sorted(below - self.handled())

    def spans(self, committed: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """How many offsets of each partition were begun at or above the committed one."""
        begun: dict[tuple[str, int], int] = defaultdict(int)
        for turn in self.turns:
            where = turn.place.topic, turn.place.partition
            begun[where] = max(begun[where], turn.place.offset + 1)
        return {where: end - committed.get(where, 0) for where, end in begun.items()}

    def out_of_order(self) -> list[tuple[Turn, Turn]]:
        """Neighbours of one key of which the later record was first begun before the earlier one."""
        first: dict[Place, Turn] = {}
        for turn in self.turns:
            first.setdefault(turn.place, turn)
        return [
            (one, other)
            for turns in _by_key(first.values())
            for one, other in pairwise(turns)
            if one.place.offset > other.place.offset
        ]

    def overlaps(self, but: tuple[str, ...] = ()) -> list[tuple[Turn, Turn]]:
        """Turns of one key at the same time, leaving aside those of members whose names begin so.

        Of several before it, the one that ends last is the one that a turn is held against.
        """
        counted = (turn for turn in self.turns if not turn.member.startswith(but))
        return [
            (one, other)
            for turns in _by_key(counted)
            for one, other in zip(accumulate(turns, _later_end), turns[1:], strict=False)
            if other.start < one.end
        ]


def _turns(notes: Iterable[Note], ended: Mapping[str, float]) -> Iterator[Turn]:
    running: dict[tuple[str, Place], Note] = {}
    for note in notes:
        who = note.member, note.place
        if note.event == "start":
            running[who] = note
        elif note.event in ENDS and (start := running.pop(who, None)) is not None:
            yield Turn(start.at, note.at, note.member, note.place, note.key, note.event == "ok")
    for (member, place), start in running.items():
        yield Turn(start.at, ended.get(member, FOR_EVER), member, place, start.key, is_ok=False)


def _later_end(one: Turn, other: Turn) -> Turn:
    return other if other.end > one.end else one


def _by_key(turns: Iterable[Turn]) -> Iterable[list[Turn]]:
    """The turns of each key of each partition, in the order they began."""
    keys: dict[tuple[str, int, str | None], list[Turn]] = defaultdict(list)
    for turn in sorted(turns):
        keys[turn.place.topic, turn.place.partition, turn.key].append(turn)
    return keys.values()
