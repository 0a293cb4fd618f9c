"""How much waits in an outbox, and for how long; and cleaning up what is kept no longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, func, literal_column, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from convex_messaging_fastapi.outbox.store.dialects import Words, is_in
from convex_messaging_fastapi.outbox.tables import DELIVERED, DUE, HELD, LANES, PARKED, MessagingTables

MOST_COUNTED = 10_001
"""To count a backlog to its end is what would hurt most while there is one."""

CLEANED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """Counts end at `MOST_COUNTED`. `held` has the rows of each topic that is held back anywhere."""

    due: int
    held: Mapping[str, int]
    parked: int
    oldest_seconds: float | None

    @property
    def pending(self) -> int:
        return min(MOST_COUNTED, self.due + sum(self.held.values()))


class Measuring:
    """Looks at the whole outbox, whoever holds its lanes."""

    def __init__(self, engine: AsyncEngine, tables: MessagingTables, words: Words) -> None:
        self._engine = engine
        self._rows = tables.outbox
        self._words = words

    async def waiting(self) -> Backlog:
        async with self._engine.connect() as connection:
            held = await self._held(connection)
            return Backlog(
                due=await self._count(connection, DUE),
                held=held,
                parked=await self._count(connection, PARKED),
                oldest_seconds=await self._oldest_age(connection, any_held=bool(held)),
            )

    async def clean_up(self, keep_seconds: float) -> int:
        """Take out some of what was delivered longer ago; returns how many rows."""
        row = self._rows.c
        is_old = self._words.age(row.settled_at) > keep_seconds
        some = (
            select(row.id).where(is_in(row.state, DELIVERED), is_old).order_by(row.id).limit(CLEANED_AT_ONCE)
        )
        async with self._engine.begin() as connection:
            ids = list(await connection.scalars(some))
            if ids:
                await connection.execute(delete(self._rows).where(row.id.in_(ids)))
        return len(ids)

    async def _count(self, connection: AsyncConnection, state: int) -> int:
        some: Any = (
            select(literal_column("1")).select_from(self._rows).where(is_in(self._rows.c.state, state))
        )
        counted = select(func.count()).select_from(some.limit(MOST_COUNTED).subquery())
        return int(await connection.scalar(counted) or 0)

    async def _held(self, connection: AsyncConnection) -> dict[str, int]:
        row = self._rows.c
        some: Any = select(row.topic).where(is_in(row.state, HELD)).limit(MOST_COUNTED).subquery()
        counted = select(some.c.topic, func.count()).group_by(some.c.topic)
        return {self._words.read(topic): count for topic, count in await connection.execute(counted)}

    async def _oldest_age(self, connection: AsyncConnection, *, any_held: bool) -> float | None:
        row = self._rows.c
        # Each lane's first row stands at the front of an index; the first of all does not.
        firsts = [self._first(is_in(row.state, DUE), row.lane == lane) for lane in range(LANES)]
        if any_held:
            firsts.append(self._first(is_in(row.state, HELD)))
        found = union_all(*firsts).subquery()
        oldest = select(func.min(found.c.first)).scalar_subquery()
        age = await connection.scalar(select(self._words.age(row.created_at)).where(row.id == oldest))
        return None if age is None else max(0.0, float(age))

    def _first(self, *which: ColumnElement[bool]) -> Any:
        return select(func.min(self._rows.c.id).label("first")).where(*which)
