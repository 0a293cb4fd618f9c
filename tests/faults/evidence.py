"""What a run under faults left behind, whole enough to be judged again later."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple

from tests.support.ledgers import FOR_EVER, History, Note, Place
from tests.support.probing import Answer

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
ILLEGIBLE = -1
"""The id of whatever is no message of a load."""


class Produced(NamedTuple):
    """One send: when it began and ended (CLOCK_MONOTONIC), and what the publisher was told."""

    id: int
    key: str
    began: float
    ended: float
    outcome: str
    partition: int = -1
    offset: int = -1


class Logged(NamedTuple):
    """One record as an independent reader found it after everything."""

    topic: str
    partition: int
    offset: int
    id: int
    key: str | None

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset)


class Buried(NamedTuple):
    """A letter in the dead-letter topic: of which record, and when (CLOCK_MONOTONIC) it was made."""

    topic: str
    partition: int
    offset: int
    at: float

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset)


class Seen(NamedTuple):
    """What a group had committed at the latest at a time, as an independent reader was told.

    `asked` is when that reader asked: what was committed by then cannot have been more.
    """

    at: float
    topic: str
    partition: int
    offset: int
    asked: float = float("inf")


class Lost(NamedTuple):
    """What a worker told: reading was to go on at `first` and went on at `end`, for the log had it not."""

    topic: str
    partition: int
    first: int
    end: int

    def covers(self, place: Place) -> bool:
        here = (place.topic, place.partition) == (self.topic, self.partition)
        return here and self.first <= place.offset < self.end


class Window(NamedTuple):
    """A fault from its beginning to the moment when all it needs for an end was done."""

    fault: str
    began: float
    healed: float


class Usage(NamedTuple):
    """What a process held at a time when it answered."""

    at: float
    member: str
    rss_mib: float
    files: int
    threads: int
    tasks: int


class Ended(NamedTuple):
    """A process that was asked to end, or ended by itself: how long it took, and its exit code."""

    member: str
    seconds: float
    code: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a scenario may do to a crew; everything else is a violation.

    `repeats` are for each assignment of each partition; times are in seconds.
    """

    repeats: int = 0
    recovery: float = 15.0
    """From the heal to the first record that is handled."""
    drained: float = 60.0
    """From the last heal to the last record being handled."""
    stall: float | None = None
    """The longest time without any record being handled, from the first fault on; `None`: it may be long."""
    down_within: float | None = None
    """Ready must say 503 so soon after a fault began; `None`: it may stay 200."""
    back_within: float = 10.0
    """Ready must say 200 for good so soon after the heal."""
    zombies: tuple[str, ...] = ()
    """How the names of processes begin that were frozen: their turns may overlap their successors'."""
    stop_seconds: float = 30.0
    rss_mib: float = 64.0
    files: int = 16
    threads: int = 6
    tasks: int = 20
    """As many handlers more may be at work at one time than at another."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. `answers` and `logs` go by process; a life is one process from start to end."""

    produced: list[Produced]
    log: list[Logged]
    buried: list[Buried]
    notes: list[Note]
    seen: list[Seen] = field(default_factory=list)
    removed: list[Place] = field(default_factory=list)
    """Records of `log` that were removed while it was read."""
    lost: list[Lost] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    killed: Mapping[str, float] = field(default_factory=dict)
    """When lives were ended by force, or came to their end unasked."""
    answers: Mapping[str, list[Answer]] = field(default_factory=dict)
    usage: list[Usage] = field(default_factory=list)
    logs: Mapping[str, str] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    secrets: tuple[str, ...] = ()
    """What no line of a log may hold."""

    def of_the_log_since(self, at: float) -> Evidence:
        """What concerns a log that was made anew then, in which offsets mean other records.

        Handlers finish what they have of the old one; and its owners may still fetch what they have
        asked for, and commit where they were, until each of them reads in the new log.
        """
        ids = {record.place: record.id for record in self.log}
        old = {(note.member, note.epoch) for note in self.notes if note.at < at}
        knows: dict[tuple[str, str, int], float] = {}
        for note in self.notes:
            if note.event == "fetched" and (note.member, note.epoch) not in old:
                knows.setdefault((note.member, note.topic, note.partition), note.at)

        def is_new(note: Note) -> bool:
            if note.epoch >= 0:
                since = knows.get((note.member, note.topic, note.partition), FOR_EVER)
                return note.at >= since and (note.member, note.epoch) not in old
            return not note.topic or ids.get(note.place) == note.id

        return replace(
            self,
            produced=[sent for sent in self.produced if sent.ended >= at],
            notes=[note for note in self.notes if is_new(note)],
            seen=[seen for seen in self.seen if seen.asked >= at],
        )

    def history(self) -> History:
        return History(self.notes, self.killed)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({f.name: getattr(self, f.name) for f in fields(self)}))


def load(path: Path) -> Evidence:
    """What `Evidence.save` wrote, also when it was compressed since then."""
    read = gzip.open if path.suffix == ".gz" else open
    with read(path, "rt") as file:
        raw = json.load(file)
    return Evidence(
        produced=[Produced(*row) for row in raw["produced"]],
        log=[Logged(*row) for row in raw["log"]],
        buried=[Buried(*row) for row in raw["buried"]],
        notes=[Note(*row) for row in raw["notes"]],
        seen=[Seen(*row) for row in raw["seen"]],
        removed=[Place(*row) for row in raw.get("removed", ())],
        lost=[Lost(*row) for row in raw.get("lost", ())],
        windows=[Window(*row) for row in raw["windows"]],
        killed=raw["killed"],
        answers={name: [Answer(*row) for row in rows] for name, rows in raw["answers"].items()},
        usage=[Usage(*row) for row in raw["usage"]],
        logs=raw["logs"],
        ended=[Ended(*row) for row in raw["ended"]],
        secrets=tuple(raw["secrets"]),
    )


def as_json(allowed: Allowed) -> dict[str, object]:
    return asdict(allowed)
