"""A process of the proofs: writers of messages, or a relay. Its one argument is its task as JSON."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings
from convex_messaging_fastapi.outbox import MessagingTables, Outbox

metadata = MetaData()
tables = MessagingTables(metadata)
accounts = Table(
    "accounts", metadata, Column("key", String(40), primary_key=True), Column("seq", Integer, nullable=False)
)
"""How many messages of each key were committed: what must have arrived in the end."""

KEYS = 8
ROLLBACKS = 0.05


class Booked(ConvexMessage):
    seq: int


def bus_of(task: dict[str, Any]) -> MessageBus:
    settings = MessagingSettings(bootstrap_servers=task["bootstrap"], topic_prefix="", client_id=task["name"])
    return MessageBus(settings)


async def prepare(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(insert(accounts), [{"key": f"k{n}", "seq": 0} for n in range(KEYS)])


async def book(outbox: Outbox, connection: AsyncConnection, topic: str, key: str) -> None:
    row = accounts.c
    seq = (await connection.scalar(select(row.seq).where(row.key == key).with_for_update())) or 0
    await connection.execute(update(accounts).where(row.key == key).values(seq=seq + 1))
    await outbox.publish(connection, topic, Booked(seq=seq + 1), key=key)


async def write(task: dict[str, Any]) -> None:
    """So many transactions by so many writers, some of which are rolled back; then end."""
    engine = create_async_engine(task["database"], pool_size=task["writers"] + 2)
    outbox = Outbox(bus_of(task), engine, tables, relay=False)
    dice, left = random.Random(task["seed"]), iter(range(task["messages"]))

    async def transaction() -> None:
        async with engine.connect() as connection:
            await book(outbox, connection, task["topic"], f"k{dice.randrange(KEYS)}")
            if dice.random() < ROLLBACKS:
                await connection.rollback()
            else:
                await connection.commit()

    async def writer() -> None:
        for _ in left:
            try:
                await transaction()
            except Exception:  # noqa: BLE001 - the database may be away; the accounts tell what was committed
                await asyncio.sleep(0.2)  # simulates work: of a client that comes again

    await asyncio.gather(*(writer() for _ in range(task["writers"])))
    await engine.dispose()


async def relay(task: dict[str, Any]) -> None:
    """Relay until SIGTERM."""
    engine = create_async_engine(task["database"])
    bus = bus_of(task)
    Outbox(bus, engine, tables, lease_seconds=task["lease"], batch=task["batch"])
    ends = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ends.set)
    async with bus:
        await ends.wait()
    await engine.dispose()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run({"write": write, "relay": relay}[given["role"]](given))
