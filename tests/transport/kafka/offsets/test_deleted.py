"""A topic is deleted while it is handled: the others of its group go on, and a stop is not held up."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from confluent_kafka import Producer

from convex_messaging_fastapi.clock import SystemClock
from tests.support.independent import Independent
from tests.support.waiting import eventually, pass_time
from tests.transport.kafka.bench import bus_over
from tools.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

SECONDS = 20
STANDS_STILL = {1: 1.0, 2: 3.0}
STOPS_WITHIN = 3.0


class Service:
    """Handles both topics of one group; `handled` are times of the first, `doomed` messages of the other."""

    def __init__(self, cluster: Cluster, lasting: str, doomed: str) -> None:
        self.clock = SystemClock()
        self.handled: list[float] = []
        self.doomed: list[bytes] = []
        self.bus = bus_over(cluster.bootstrap, lasting)
        self.bus.subscriber(lasting)(self._handle)
        self.bus.subscriber(doomed)(self._handle_doomed)

    async def _handle(self, message: bytes) -> None:
        self.handled.append(self.clock.now())

    async def _handle_doomed(self, message: bytes) -> None:
        self.doomed.append(message)

    @property
    def at_work(self) -> bool:
        return any(worker.partitions for worker in self.bus.status().workers)


class Writing:
    """Fifty records a second to a topic, from another client, from `begin` to `end`."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0})
        self._topic, self._stopped = topic, False
        self._task = asyncio.ensure_future(asyncio.to_thread(self._write))

    def _write(self) -> None:
        number = 0
        while not self._stopped:
            self._producer.produce(self._topic, b"work", partition=number % 4)
            self._producer.poll(0.02)
            number += 1
        self._producer.flush(10)

    async def end(self) -> None:
        self._stopped = True
        await self._task


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("stopped_at_once", [False, True])
async def test_the_others_go_on_and_a_stop_is_not_held_up(
    kafka: Cluster, independent: Independent, unique: str, members: int, stopped_at_once: bool
) -> None:
    """Some of it is handled and not committed: no waiting lets that be committed any more."""
    lasting, doomed = kafka.create_topic(f"{unique}-lasting", 4), kafka.create_topic(f"{unique}-doomed", 2)
    services = [Service(kafka, lasting, doomed) for _ in range(members)]
    clock = services[0].clock
    async with AsyncExitStack() as ends:
        for service in services:
            await ends.enter_async_context(service.bus)
        await eventually(lambda: all(service.at_work for service in services), SECONDS, "assignments")
        writing = Writing(kafka, lasting)
        ends.push_async_callback(writing.end)
        await eventually(lambda: all(service.handled for service in services), SECONDS, "work")
        await asyncio.to_thread(independent.write, doomed, [b"1"] * 10)
        await eventually(lambda: sum(len(s.doomed) for s in services) == 10, SECONDS, "the other's work")
        began = clock.now()
        await asyncio.to_thread(kafka.delete_topic, doomed)
        if not stopped_at_once:
            await asyncio.to_thread(pass_time, 4)
            for service in services:
                times = [began, *(at for at in service.handled if at > began), clock.now()]
                longest = max(later - at for at, later in pairwise(times))
                assert longest < STANDS_STILL[members]
        stopping = clock.now()
        await asyncio.gather(*(service.bus.stop() for service in services))
        assert clock.now() - stopping < STOPS_WITHIN
