"""What became of letters, once all of them are known: joined, waiting, replayed, failed again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.operations.found import Found
from convex_messaging_fastapi.operations.known_states import KnownStates
from convex_messaging_fastapi.operations.rows import CODES, DUPLICATE
from convex_messaging_fastapi.operations.states import Copy
from convex_messaging_fastapi.operations.values import NOT_KNOWN
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import LogReader, Position

TURN_ROWS = 1000
"""Rows that are looked at in one turn of the loop: a few milliseconds."""

MAX_GROUPS_ASKED = 200
"""For what they have committed; copies for further groups are shown as waiting."""

Committed = Mapping[TopicPartition, Position]


@dataclass(frozen=True, slots=True)
class Links:
    """Which rows belong together: those that one stands for, and the letters that replays failed as.

    `stands_for` is `duplicates` the other way round.
    """

    duplicates: dict[int, list[int]] = field(default_factory=dict)
    stands_for: dict[int, int] = field(default_factory=dict)
    failed_as: dict[int, int] = field(default_factory=dict)


async def resolve(found: Found, states: KnownStates, reader: LogReader) -> Links:
    """Writes the derived states into the rows, and answers which belong together."""
    links, rows = Links(), found.rows
    for stands_for_all, *others in found.duplicates():
        links.duplicates[stands_for_all] = others
        for row in others:
            links.stands_for[row] = stands_for_all
            rows.state[row] = DUPLICATE
    again = {letter: (row, job) for row, letter, job in found.replayed}
    settled = SettledCopies(reader)
    replayed = CODES["replayed"]
    for row in range(len(rows)):
        if row % TURN_ROWS == 0:
            await asyncio.sleep(0)
        if rows.state[row] != replayed or (kept := states.of(place := rows.place(row))) is None:
            continue
        newer, job = again.get(f"{place.topic}/{place.partition}/{place.offset}", (row, ""))
        if newer != row and job == kept.job:
            links.failed_as[row] = newer
            rows.state[row] = CODES["failed_again"]
        elif kept.copy is not None and not await settled.has(kept.copy):
            rows.state[row] = CODES["waiting"]
    return links


class SettledCopies:
    """Whether the group of a copy has committed past it. Each group is asked for once."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._committed: dict[str, Committed] = {}

    async def has(self, copy: Copy) -> bool:
        """False too where the cluster does not tell: a letter is never called repaired on a guess."""
        if copy.group == NOT_KNOWN:
            return True  # it went to a topic that any group may read
        position = (await self._of(copy.group)).get(TopicPartition(copy.topic, copy.partition))
        return position is not None and position.offset > copy.offset

    async def _of(self, group: str) -> Committed:
        if group not in self._committed:
            if len(self._committed) >= MAX_GROUPS_ASKED:
                return {}
            try:
                self._committed[group] = await self._reader.committed(group)
            except TransportError:
                self._committed[group] = {}
        return self._committed[group]
