"""A relay by hand: on a real database, with an outlet whose log is a list and whose answers are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import MessageTooLarge, PublishError
from convex_messaging_fastapi.outbox.leases import LeaseTerms, seconds
from convex_messaging_fastapi.outbox.relay import Pace, Relay
from convex_messaging_fastapi.outbox.rows import lane_of
from convex_messaging_fastapi.outbox.store import Store
from convex_messaging_fastapi.outbox.store.dialects import Words
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecords

AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeOutlet:
    """Takes everything, unless a topic is in `down` with its error. Clear `gate` to hold answers back."""

    log: list[tuple[str, bytes | None]] = field(default_factory=list)
    down: dict[str, PublishError] = field(default_factory=dict)
    too_large: set[bytes] = field(default_factory=set)
    contact: bool = True
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    timeouts: list[float] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def in_contact(self) -> bool:
        return self.contact

    async def publish(
        self, topic: str, records: OutgoingRecords, timeout: float
    ) -> Sequence[Receipt | PublishError]:
        self.timeouts.append(timeout)
        self.calls.append(topic)
        await self.gate.wait()
        return [self._take(topic, records[index].value) for index in range(len(records))]

    def _take(self, topic: str, value: bytes | None) -> Receipt | PublishError:
        if value in self.too_large:
            return MessageTooLarge("too large")
        if topic in self.down:
            return self.down[topic]
        self.log.append((topic, value))
        return Receipt(topic, 0, len(self.log), AT)

    def values(self, topic: str = "t") -> list[bytes | None]:
        return [value for of, value in self.log if of == topic]


@dataclass
class Setting:
    """An outbox in a database, whose relays the test turns by hand."""

    engine: AsyncEngine
    tables: MessagingTables
    time: float | None = None

    def now(self) -> float:
        return seconds() if self.time is None else self.time

    async def relay(self, outlet: FakeOutlet, *, lease: float = 60.0, batch: int = 1_000) -> Relay:
        store = Store(self.engine, self.tables, uuid4().hex, keeps=False)
        await store.leasing.prepare()
        return Relay(
            store, outlet, LeaseTerms(lease), Pace(batch), SystemClock(), self.now, random=lambda: 0.0
        )

    async def put(self, *values: str, topic: str = "t", key: str | None = "k") -> None:
        words = Words(self.engine.dialect.name)
        rows = [
            {
                "lane": lane_of(None if key is None else key.encode(), value),
                "topic": words.written(topic),
                "record_key": None if key is None else key.encode(),
                "value": value.encode(),
                "headers": "[]",
                "message_id": words.written(value),
            }
            for value in values
        ]
        async with self.engine.begin() as connection:
            await connection.execute(insert(self.tables.outbox), rows)

    async def rows(self) -> list[tuple[bytes, int]]:
        """Each row's value and state."""
        row = self.tables.outbox.c
        async with self.engine.connect() as connection:
            found = await connection.execute(select(row.value, row.state).order_by(row.id))
            return [(bytes(value), state) for value, state in found]

    async def end_leases(self) -> None:
        """As if so much time had passed in the database that no lease holds any more."""
        words = Words(self.engine.dialect.name)
        async with self.engine.begin() as connection:
            await connection.execute(update(self.tables.lease).values(until=words.long_ago()))


async def turns(relay: Relay, until: Callable[[], Any] | None = None) -> None:
    """Turn a relay until nothing is left to be sent; or until something holds."""
    for _ in range(200):
        await relay.settled()
        went_on = await relay.turn()
        await relay.settled()
        if until is None and not went_on:
            return
        if until is not None and until():
            return
        if until is not None and not went_on:
            await asyncio.sleep(0.02)  # simulates work: the wait of a relay that works by itself
    raise AssertionError("the relay came to no end")
