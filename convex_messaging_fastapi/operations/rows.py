"""What is held of every letter of a scan: a few numbers each, in columns, never a record.

A hundred thousand letters take three megabytes, and their groups what the groups' names take.
"""

from __future__ import annotations

from array import array
from typing import get_args

from convex_messaging_fastapi.operations.values import LetterPlace, LetterState
from convex_messaging_fastapi.records import TopicPartition

STATES: tuple[LetterState, ...] = get_args(LetterState)
CODES = {state: code for code, state in enumerate(STATES)}

DUPLICATE = len(STATES)
"""In place of a state: another letter stands for this one."""


class Rows:
    """The letters of a scan, each a number from 0 on, in the order in which they were read."""

    __slots__ = (
        "_where",
        "_wheres",
        "failed_at_ms",
        "group",
        "matches",
        "offset",
        "replays",
        "state",
        "timestamp_ms",
    )

    def __init__(self) -> None:
        self._wheres: list[TopicPartition] = []
        self._where = array("H")
        self.offset: array[int] = array("q")
        self.timestamp_ms: array[int] = array("q")
        self.failed_at_ms: array[int] = array("q")
        self.group: array[int] = array("I")
        self.replays: array[int] = array("H")
        self.state: array[int] = array("B")
        self.matches: array[int] = array("B")
        """Whether the letter holds the text that was looked for; true where none was."""

    def __len__(self) -> int:
        return len(self.offset)

    def where(self, row: int) -> TopicPartition:
        return self._wheres[self._where[row]]

    def place(self, row: int) -> LetterPlace:
        topic, partition = self.where(row)
        return LetterPlace(topic, partition, self.offset[row], self.timestamp_ms[row])

    def find(self, topic: str, partition: int, offset: int) -> int | None:
        """The row of the letter that stands there."""
        wanted, start = TopicPartition(topic, partition), 0
        while True:
            try:
                row = self.offset.index(offset, start)
            except ValueError:
                return None
            if self.where(row) == wanted:
                return row
            start = row + 1

    def number_of(self, where: TopicPartition) -> int:
        """The number of a partition, for `add`."""
        if where not in self._wheres:
            self._wheres.append(where)
        return self._wheres.index(where)

    def add(
        self, where: int, offset: int, timestamp_ms: int, failed_at_ms: int, group: int, replays: int,
        state: int,
    ) -> int:  # fmt: skip
        row = len(self.offset)
        self._where.append(where)
        self.offset.append(offset)
        self.timestamp_ms.append(timestamp_ms)
        self.failed_at_ms.append(failed_at_ms)
        self.group.append(group)
        self.replays.append(replays)
        self.state.append(state)
        self.matches.append(True)
        return row
