"""Members that come and go while handlers work: nothing twice, nothing lost, no two of a key at once."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from typing import NamedTuple

import pytest

from convex_messaging_fastapi import Delivery, MessageBus
from convex_messaging_fastapi.clock import SystemClock, sleep
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tests.transport.kafka.bench import bus_over
from tools.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

STORM_SECONDS = 15.0
PARTITIONS, KEYS, SLOWEST_SECONDS = 6, 40, 0.2


class Turn(NamedTuple):
    key: bytes | None
    partition: int
    offset: int
    start: float
    end: float


class Storm:
    """A group whose members this process starts and stops, and what its handlers did."""

    def __init__(self, cluster: Cluster, name: str, chance: random.Random) -> None:
        self._cluster, self._name, self._chance = cluster, name, chance
        self.clock = SystemClock()
        self.turns: list[Turn] = []
        self.written: list[tuple[int, int]] = []
        self.members: list[MessageBus] = []
        self.changes = 0

    async def join(self) -> None:
        bus = self._bus()
        bus.subscriber(self._name, concurrency=8)(self._handle)
        await bus.__aenter__()
        self.members.append(bus)
        self.changes += 1

    async def leave(self, bus: MessageBus) -> None:
        self.members.remove(bus)
        await bus.__aexit__(None, None, None)
        self.changes += 1

    async def change(self, until: float) -> None:
        """Somebody comes or goes, every so often; one always stays."""
        while self.clock.now() < until:
            await sleep(self.clock, self._chance.uniform(0.3, 1.2))  # simulates work
            if len(self.members) < 2 or (len(self.members) < 5 and self._chance.random() < 0.5):
                await self.join()
            else:
                await self.leave(self._chance.choice(self.members))

    async def write(self, until: float) -> None:
        async with self._bus() as publisher:
            while self.clock.now() < until:
                receipts = await publisher.publish_many(
                    self._name, [b"work"] * 10, key=lambda _: f"key-{self._chance.randrange(KEYS)}"
                )
                self.written += [(receipt.partition, receipt.offset) for receipt in receipts]
                await sleep(self.clock, 0.05)  # simulates work

    async def _handle(self, message: bytes, delivery: Delivery) -> None:
        start = self.clock.now()
        await sleep(self.clock, self._chance.uniform(0, SLOWEST_SECONDS))  # simulates work
        self.turns.append(Turn(delivery.key, delivery.partition, delivery.offset, start, self.clock.now()))

    def _bus(self) -> MessageBus:
        return bus_over(self._cluster.bootstrap, self._name)


def overlaps(turns: list[Turn]) -> list[tuple[Turn, Turn]]:
    """Turns of one key at the same time, or out of order."""
    by_key = defaultdict(list)
    for turn in sorted(turns, key=lambda turn: turn.start):
        by_key[turn.key, turn.partition].append(turn)
    pairs = [pair for each in by_key.values() for pair in itertools.pairwise(each)]
    return [(a, b) for a, b in pairs if b.start < a.end or b.offset < a.offset]


async def test_a_storm_of_joins_and_leaves_repeats_and_loses_nothing(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    kafka.create_topic(unique, partitions=PARTITIONS)
    seed = random.randrange(10**6)
    storm = Storm(kafka, unique, random.Random(seed))
    await storm.join()
    end = storm.clock.now() + STORM_SECONDS
    await asyncio.gather(storm.change(end), storm.write(end))
    await eventually(lambda: len(storm.turns) >= len(storm.written), 15, "all to be handled")
    for bus in list(storm.members):
        await storm.leave(bus)

    times = Counter((turn.partition, turn.offset) for turn in storm.turns)
    about = f"seed {seed}, {storm.changes} changes, {len(times)} records"
    assert times.keys() == set(storm.written), about
    assert {place for place, many in times.items() if many > 1} == set(), about
    assert overlaps(storm.turns) == [], about
    assert storm.changes > 8, about
    committed = await asyncio.to_thread(independent.committed, unique, unique)
    ends = await asyncio.to_thread(independent.ends, unique)
    assert {partition: stored.offset for partition, stored in committed.items()} == ends
