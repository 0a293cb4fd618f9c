"""A database with accounts, a topic, and relays as processes that can be killed and frozen."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.outbox import Outbox
from tests.outbox.proofs.load import (
    TOPIC,
    Arrived,
    Load,
    committed,
    judged,
    of_records,
    prepare,
    tables,
    waiting,
)
from tests.outbox.proofs.relaying import READY
from tests.support.databases import Database
from tests.support.independent import Independent
from tests.support.waiting import until
from tools.kafka.cluster import Cluster
from tools.processes import Child

ROOT = Path(__file__).parents[3]
LEASE_SECONDS = 3.0
BATCH = 1_000
"""Rows that a relay takes at once, by default: what may come again when it is killed."""
PARTITIONS = 4
DRAINED_SECONDS = 150.0


@dataclass
class Place:
    """One outbox: its database, its topic, and its relays."""

    database: Database
    kafka: Cluster
    engine: AsyncEngine
    outbox: Outbox
    prefix: str
    folder: Path
    seed: int
    relays: list[Child] = field(default_factory=list)

    def relay(self) -> Child:
        """One more, that is ready."""
        environment = os.environ | {
            "PROOF_DATABASE": self.database.async_url,
            "PROOF_KAFKA": self.kafka.bootstrap,
            "PROOF_PREFIX": self.prefix,
            "PROOF_LEASE": str(LEASE_SECONDS),
        }
        log = self.folder / f"relay-{len(self.relays)}.log"
        started = Child(
            (sys.executable, "-m", "tests.outbox.proofs.relaying"), log, cwd=ROOT, env=environment
        )
        self.relays.append(started)
        until(lambda: READY in log.read_text() or not started.alive, 60, "a relay to start")
        assert started.alive, started.tail()
        return started

    def load(self, count: int) -> Load:
        return Load(self.engine, self.outbox, count, self.seed)

    async def drained(self, within: float = DRAINED_SECONDS) -> None:
        """Wait until nothing is left in the outbox."""

        async def is_empty() -> bool:
            try:
                return not await waiting(self.engine)
            except (DBAPIError, OSError):
                return False

        empty = False
        async with asyncio.timeout(within):
            while not empty:
                empty = await is_empty()
                await asyncio.sleep(0.05)  # simulates work between two looks: nobody tells when it is so

    async def arrived(self) -> Arrived:
        """Once nothing is left: what the topic has, by a reader that shares no code with ours."""
        await self.drained()
        records = await asyncio.to_thread(Independent(self.kafka.bootstrap).read, f"{self.prefix}.{TOPIC}")
        found = judged(await committed(self.engine), of_records(records))
        print(f"seed {self.seed}: {found}")  # noqa: T201 - makes it again
        return found

    def end(self) -> None:
        for relay in self.relays:
            if relay.alive:
                relay.send(signal.SIGCONT)
                relay.kill()


@pytest.fixture
async def place(postgres: Database, kafka: Cluster, unique: str, tmp_path: Path) -> AsyncIterator[Place]:
    engine = create_async_engine(postgres.async_url, pool_size=20)
    await prepare(engine)
    await asyncio.to_thread(kafka.create_topic, f"{unique}.{TOPIC}", PARTITIONS)
    # This process only writes.
    bus = MessageBus(MessagingSettings(bootstrap_servers="memory://", topic_prefix=unique))
    outbox = Outbox(bus, engine, tables, relay=False)
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(10**6)))
    made = Place(postgres, kafka, engine, outbox, unique, tmp_path, seed)
    yield made
    made.end()
    await engine.dispose()
