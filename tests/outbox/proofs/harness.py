"""What the proofs share: writers and relays as processes, and a witness that reads what has arrived."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import create_async_engine

from convex_messaging_fastapi.outbox.tables import DUE, HELD
from tests.outbox.proofs.child import accounts, prepare, tables
from tests.support.independent import Independent
from tools.kafka.cluster import Cluster
from tools.processes import Child


@dataclass(frozen=True)
class Verdict:
    """What the witness found, by key and number; `repeats` are records, the rest are messages."""

    arrived: int
    lost: int
    repeats: int
    out_of_order: int


@dataclass
class Proof:
    """One outbox in one database, one topic, and the processes that work on them."""

    kafka: Cluster
    database: str
    topic: str
    folder: Path
    lease: float = 3.0
    batch: int = 200
    seed: int = field(default_factory=lambda: random.randrange(10**6))
    children: list[Child] = field(default_factory=list)

    async def begin(self) -> None:
        engine = create_async_engine(self.database)
        await prepare(engine)
        await engine.dispose()

    async def make_topic(self, partitions: int = 6) -> None:
        await asyncio.to_thread(self.kafka.create_topic, self.topic, partitions)

    def writers(self, messages: int, writers: int = 12) -> Child:
        return self._child("write", messages=messages, writers=writers, topic=self.topic, seed=self.seed)

    def relay(self) -> Child:
        return self._child("relay", lease=self.lease, batch=self.batch)

    async def drained(self, within: float) -> None:
        """Return once no row is left to be published."""
        await self._counted(lambda counts: not counts, within, "the outbox to be empty")

    async def held(self, within: float) -> None:
        """Return once rows are held back, and none is due."""
        await self._counted(lambda counts: HELD in counts and DUE not in counts, within, "rows to be held")

    async def _counted(self, is_so: Callable[[dict[int, int]], bool], within: float, what: str) -> None:
        engine, state = create_async_engine(self.database), tables.outbox.c.state
        asked = select(state, func.count()).group_by(state)
        try:
            async with asyncio.timeout(within), engine.connect() as connection:
                while not is_so({row[0]: row[1] for row in await connection.execute(asked)}):
                    await connection.rollback()
                    await asyncio.sleep(0.1)  # simulates work: of the relays
        except TimeoutError:
            raise TimeoutError(f"waited {within:g} s for {what}") from None
        finally:
            await engine.dispose()

    async def verdict(self) -> Verdict:
        engine = create_async_engine(self.database)
        async with engine.connect() as connection:
            found = await connection.execute(select(accounts.c.key, accounts.c.seq))
            wanted = {row[0]: row[1] for row in found}
        await engine.dispose()
        seen = await asyncio.to_thread(Independent(self.kafka.bootstrap).read, self.topic)
        arrivals: dict[str, list[int]] = defaultdict(list)
        for record in seen:
            arrivals[(record.key or b"").decode()].append(json.loads(record.value or b"{}")["Seq"])
        return judged(wanted, arrivals)

    async def end(self) -> None:
        for child in self.children:
            if child.alive:
                await asyncio.to_thread(child.kill)

    def _child(self, role: str, **task: Any) -> Child:
        name = f"{role}-{len(self.children)}"
        told = {"role": role, "name": name, "database": self.database, "bootstrap": self.kafka.bootstrap}
        command = [sys.executable, "-m", "tests.outbox.proofs.child", json.dumps(told | task)]
        child = Child(command, self.folder / f"{name}.log")
        self.children.append(child)
        return child


def judged(wanted: dict[str, int], arrivals: dict[str, list[int]]) -> Verdict:
    """`wanted` tells how many messages of each key were committed, numbered from 1."""
    lost = repeats = wrong = 0
    for key, last in wanted.items():
        first: set[int] = set()
        highest = 0
        for seq in arrivals.get(key, []):
            if seq in first:
                repeats += 1
                continue
            first.add(seq)
            wrong += seq < highest
            highest = max(highest, seq)
        lost += len(set(range(1, last + 1)) - first)
    return Verdict(sum(map(len, arrivals.values())), lost, repeats, wrong)
