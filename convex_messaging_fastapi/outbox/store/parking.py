"""Rows that were set aside: looked at, put back as new rows, or dropped, by a person."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from convex_messaging_fastapi.outbox.store.dialects import Words, is_in
from convex_messaging_fastapi.outbox.tables import PARKED, MessagingTables


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A message of an outbox that cannot be published as it is. `topic` is on the wire; times are UTC.

    `size` is that of its value in bytes. `error` tells why, and repeats nothing of the message.
    """

    id: int
    topic: str
    key: bytes | None
    message_id: str
    size: int
    created_at: datetime
    parked_at: datetime | None
    error: str


class Parking:
    """No relay touches a parked row, so that none has to be asked."""

    def __init__(self, engine: AsyncEngine, tables: MessagingTables, words: Words) -> None:
        self._engine = engine
        self._rows = tables.outbox
        self._words = words

    async def parked(self, limit: int) -> list[ParkedMessage]:
        """The first of them, in the order in which they were put in."""
        row, size = self._rows.c, self._words.size(self._rows.c.value)
        asked = (
            select(
                row.id, row.topic, row.record_key, row.message_id, size,
                row.created_at, row.settled_at, row.error,
            )
            .where(is_in(row.state, PARKED))
            .order_by(row.id)
            .limit(limit)
        )  # fmt: skip
        async with self._engine.connect() as connection:
            return [self._message(each) for each in await connection.execute(asked)]

    async def replay(self, ids: Collection[int] | None) -> int:
        """Put them back as new rows, which come after all that are there; returns how many."""
        row = self._rows.c
        copied = (row.lane, row.topic, row.record_key, row.value, row.headers, row.message_id)
        async with self._engine.begin() as connection:
            found = select(row.id).where(*self._chosen(ids)).order_by(row.id).with_for_update()
            chosen = list(await connection.scalars(found))
            for id in chosen:
                again = select(*copied).where(row.id == id)
                columns = [column.name for column in copied]
                await connection.execute(insert(self._rows).from_select(columns, again))
                await connection.execute(delete(self._rows).where(row.id == id))
        return len(chosen)

    async def drop(self, ids: Collection[int]) -> int:
        """Delete them for ever; returns how many."""
        async with self._engine.begin() as connection:
            result = await connection.execute(delete(self._rows).where(*self._chosen(ids)))
            return int(result.rowcount)

    def _chosen(self, ids: Collection[int] | None) -> list[ColumnElement[bool]]:
        parked = [is_in(self._rows.c.state, PARKED)]
        return parked if ids is None else [*parked, self._rows.c.id.in_(ids)]

    def _message(self, row: Row[Any]) -> ParkedMessage:
        id, topic, key, message_id, size, created_at, parked_at, error = tuple(row)
        return ParkedMessage(
            id=id,
            topic=self._words.read(topic),
            key=None if key is None else bytes(key),
            message_id=self._words.read(message_id),
            size=size,
            created_at=_utc(created_at),
            parked_at=None if parked_at is None else _utc(parked_at),
            error=error or "",
        )


def _utc(time: datetime) -> datetime:
    """Databases other than PostgreSQL keep no zone, and UTC is what was written."""
    return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
