"""What the tests of the store share: rows put in by hand, relays by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from convex_messaging_fastapi.outbox.store.dialects import Words
from convex_messaging_fastapi.outbox.store.fetching import Fetching
from convex_messaging_fastapi.outbox.store.floors import Floors
from convex_messaging_fastapi.outbox.store.leasing import Leasing
from convex_messaging_fastapi.outbox.store.measuring import Measuring
from convex_messaging_fastapi.outbox.store.settling import Settling
from convex_messaging_fastapi.outbox.tables import MessagingTables


@dataclass(frozen=True)
class Stored:
    engine: AsyncEngine
    tables: MessagingTables

    @property
    def words(self) -> Words:
        return Words(self.engine.dialect.name)

    def relay(self, name: str) -> Leasing:
        return Leasing(self.engine, self.tables, self.words, name)

    def settling(self, leasing: Leasing, *, keeps: bool = False) -> Settling:
        return Settling(self.engine, self.tables, self.words, leasing, keeps=keeps)

    @property
    def fetching(self) -> Fetching:
        return Fetching(self.engine, self.tables, self.words)

    def floors(self) -> Floors:
        return Floors(self.engine, self.tables, self.words)

    @property
    def measuring(self) -> Measuring:
        return Measuring(self.engine, self.tables, self.words)

    async def put(self, *rows: tuple[int, str], value: bytes = b"{}") -> None:
        """Rows of these lanes and topics."""
        given = [
            {
                "lane": lane,
                "topic": self.words.written(topic),
                "record_key": b"k",
                "value": value,
                "headers": "[]",
                "message_id": self.words.written("m"),
            }
            for lane, topic in rows
        ]
        async with self.engine.begin() as connection:
            await connection.execute(insert(self.tables.outbox), given)

    async def rows(self) -> list[Any]:
        """Each row's id, lane, topic and state."""
        row = self.tables.outbox.c
        asked = select(row.id, row.lane, row.topic, row.state).order_by(row.id)
        async with self.engine.connect() as connection:
            return [
                (id, lane, self.words.read(topic), state)
                for id, lane, topic, state in await connection.execute(asked)
            ]
