"""Reads the rows that are to be published, in the order of their ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    CompoundSelect,
    Row,
    Select,
    func,
    lateral,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from convex_messaging_fastapi.outbox.store.dialects import Words, is_in, with_floors
from convex_messaging_fastapi.outbox.tables import DUE, HELD, MessagingTables

NO_FLOORS: Mapping[int, int] = {}

AnySelect = Select[Any] | CompoundSelect[Any]


class Fetched(NamedTuple):
    """One row as it is in the table; `headers` are not looked at yet."""

    id: int
    lane: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: str


class Fetching:
    """Reads rows and changes none."""

    def __init__(self, engine: AsyncEngine, tables: MessagingTables, words: Words) -> None:
        self._engine = engine
        self._rows = tables.outbox
        self._words = words

    async def due(
        self,
        lanes: Collection[int],
        share: int,
        limit: int,
        max_bytes: int,
        floors: Mapping[int, int] = NO_FLOORS,
    ) -> list[Fetched]:
        """The first due rows of these lanes, in order: about `max_bytes`, but at least one row.

        On PostgreSQL each lane gets up to `share` rows above its floor, whatever the others have; elsewhere
        the first `limit` rows of all.
        """
        row = self._rows.c
        wanted = row.id, row.lane, row.topic, row.record_key, row.value, row.headers
        size = self._words.size(row.value).label("size")
        if self._words.is_postgresql:
            mine = with_floors(sorted(lanes), floors)
            of_one = (
                select(*wanted, size)
                .where(row.lane == mine.c.lane, is_in(row.state, DUE), row.id > mine.c.floor)
                .order_by(row.id)
                .limit(share)
            )
            found = lateral(of_one, name="found")
            first = select(found).select_from(mine.join(found, true())).subquery()
        else:
            first = (
                select(*wanted, size)
                .where(row.lane.in_(lanes), is_in(row.state, DUE))
                .order_by(row.id)
                .limit(limit)
                .subquery()
            )
        before = (func.sum(first.c.size).over(order_by=first.c.id) - first.c.size).label("before")
        counted = select(first, before).subquery()
        asked = select(*list(counted.c)[:6]).where(counted.c.before < max_bytes).order_by(counted.c.id)
        return await self._read(asked)

    async def first_held(self, lanes: Collection[int], topic: str) -> Fetched | None:
        """The first row of a topic that is held back in one of these lanes."""
        row = self._rows.c
        asked = (
            select(row.id, row.lane, row.topic, row.record_key, row.value, row.headers)
            .where(is_in(row.state, HELD), row.topic == self._words.written(topic), row.lane.in_(lanes))
            .order_by(row.id)
            .limit(1)
        )
        found = await self._read(asked)
        return found[0] if found else None

    async def held_topics(self, lanes: Collection[int]) -> Sequence[tuple[int, str]]:
        """Which topics are held back in which of these lanes."""
        row = self._rows.c
        asked = select(row.lane, row.topic).where(is_in(row.state, HELD), row.lane.in_(lanes)).distinct()
        async with self._engine.connect() as connection:
            return [(lane, self._words.read(topic)) for lane, topic in await connection.execute(asked)]

    async def _read(self, asked: AnySelect) -> list[Fetched]:
        async with self._engine.connect() as connection:
            return [self._row(each) for each in await connection.execute(asked)]

    def _row(self, row: Row[Any]) -> Fetched:
        id, lane, topic, key, value, headers = tuple(row)
        read = self._words.read
        return Fetched(id, lane, read(topic), _bytes(key), _bytes(value), read(headers))


def _bytes(told: bytes | bytearray | memoryview | None) -> bytes | None:
    return None if told is None else bytes(told)
