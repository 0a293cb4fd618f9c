"""Below which number a lane has nothing to publish any more, so that dead rows need not be walked over.

While some transaction of the database stays open, rows that were published and deleted cannot be cleaned
away: each look for due rows walks over all of them (25 ms instead of 0.6 were measured). A floor passes
them. It rests on the locks of transactions that may still put in a row, and not on the oldest
snapshot, which stands still just then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import exists, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from convex_messaging_fastapi.outbox.store.dialects import Words, is_in, with_floors
from convex_messaging_fastapi.outbox.tables import DUE, MessagingTables


class _Floor(NamedTuple):
    """Of a lane while it is held with this token."""

    token: int
    id: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A number, and the transactions that may still put in rows at or below it."""

    id: int
    writers: frozenset[str]


class Floors:
    """The floors of the lanes of one relay; on other databases than PostgreSQL they stay at 0."""

    def __init__(self, engine: AsyncEngine, tables: MessagingTables, words: Words) -> None:
        self._engine = engine
        self._rows = tables.outbox
        self._is_used = words.is_postgresql
        self._known: dict[int, _Floor] = {}
        self._forgotten: Counter[int] = Counter()  # how often, so that what is asked meanwhile does not count
        self._candidate: _Candidate | None = None
        self._seen = 0

    def saw(self, id: int) -> None:
        """A row of this number was read: whoever is to put in a lower one has begun to before."""
        self._seen = max(self._seen, id)

    def of(self, lanes: Mapping[int, int]) -> Mapping[int, int]:
        """The floors of these lanes by their tokens: rows up to there are not looked at."""
        return {
            lane: known.id
            for lane, token in lanes.items()
            if (known := self._known.get(lane)) is not None and known.token == token
        }

    def forget(self, lanes: Collection[int]) -> None:
        """Rows of these lanes were put back, and their numbers are old."""
        for lane in lanes:
            self._known.pop(lane, None)
            self._forgotten[lane] += 1

    async def rise(self, lanes: Mapping[int, int]) -> None:
        """Look whether the floors of these lanes, given with their tokens, can rise."""
        if not self._is_used or not lanes or not self._seen:
            return
        async with self._engine.connect() as connection:
            candidate = await self._next(connection)
            if candidate.writers:
                self._candidate = candidate
                return
            self._candidate = None
            forgotten = {lane: self._forgotten[lane] for lane in lanes}
            empty = await self._without_due(connection, self.of(lanes), lanes, candidate.id)
        for lane in empty:
            if self._forgotten[lane] == forgotten[lane]:
                self._known[lane] = _Floor(lanes[lane], candidate.id)

    async def _next(self, connection: AsyncConnection) -> _Candidate:
        """The candidate there is, without the writers that have ended; or else a new one."""
        if self._candidate is not None:
            writers = self._candidate.writers & await self._writers(connection)
            return _Candidate(self._candidate.id, frozenset(writers))
        # Numbers rise, and whoever is given one has locked the table before. (The sequence itself would tell
        # a higher number, but only to who may read it, and who may insert need not.)
        return _Candidate(self._seen, frozenset(await self._writers(connection)))

    async def _writers(self, connection: AsyncConnection) -> set[str]:
        found = await connection.execute(
            text(
                "select virtualtransaction from pg_locks"
                " where relation = (:table)::regclass and mode = 'RowExclusiveLock'"
            ),
            {"table": self._table},
        )
        return set(found.scalars())

    async def _without_due(
        self, connection: AsyncConnection, floors: Mapping[int, int], lanes: Collection[int], last: int
    ) -> list[int]:
        """Those of the lanes that have no due row up to number `last`."""
        row = self._rows.c
        mine = with_floors(sorted(lanes), floors)
        due = exists().where(
            row.lane == mine.c.lane, is_in(row.state, DUE), row.id > mine.c.floor, row.id <= last
        )
        return list((await connection.execute(select(mine.c.lane).where(~due))).scalars())

    @property
    def _table(self) -> str:
        return ".".join(f'"{part}"' for part in (self._rows.schema, self._rows.name) if part)
