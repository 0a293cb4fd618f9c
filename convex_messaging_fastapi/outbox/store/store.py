"""All that one relay does in the database, put together."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from convex_messaging_fastapi.outbox.store.dialects import Words, reading_committed
from convex_messaging_fastapi.outbox.store.fetching import Fetching
from convex_messaging_fastapi.outbox.store.floors import Floors
from convex_messaging_fastapi.outbox.store.leasing import Leasing
from convex_messaging_fastapi.outbox.store.measuring import Measuring
from convex_messaging_fastapi.outbox.store.parking import Parking
from convex_messaging_fastapi.outbox.store.settling import Settling
from convex_messaging_fastapi.outbox.tables import MessagingTables


class Store:
    """The parts of it, for a relay named `owner`. Making one takes no I/O."""

    def __init__(self, engine: AsyncEngine, tables: MessagingTables, owner: str, *, keeps: bool) -> None:
        words, engine = Words(engine.dialect.name), reading_committed(engine)
        self.leasing: Leasing = Leasing(engine, tables, words, owner)
        self.fetching: Fetching = Fetching(engine, tables, words)
        self.floors: Floors = Floors(engine, tables, words)
        self.settling: Settling = Settling(engine, tables, words, self.leasing, keeps=keeps)
        self.measuring: Measuring = Measuring(engine, tables, words)
        self.parking: Parking = Parking(engine, tables, words)
