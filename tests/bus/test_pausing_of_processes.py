"""Two processes pause within seconds of the word, whatever else hangs, and a new one knows of it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.operations import Operations
from convex_messaging_fastapi.parts import Parts, parts_for, transport_for
from convex_messaging_fastapi.pausing import LOOK_SECONDS
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from tests.bus.test_letters_over_kafka import SECONDS, settings_of
from tests.support.independent import Independent
from tools.kafka.cluster import Cluster

MARGIN_SECONDS = 2.0
"""For whoever has the processor meanwhile."""

PROGRAM = """
import asyncio, sys, time
from convex_messaging_fastapi import MessageBus, MessagingSettings

name, bootstrap = sys.argv[1:]
bus = MessageBus(
    MessagingSettings(
        bootstrap_servers=bootstrap, topic_prefix=name, consumer_group=name, session_timeout_ms=6000
    )
)

def tell(*words):
    print(time.monotonic(), *words, flush=True)

@bus.subscriber("placed", id="pay")
async def pay(n: int) -> None:
    tell("handled", n)

async def main():
    was = {}
    async with bus:
        while True:
            (worker,) = bus.status().workers
            (pay,) = worker.subscriptions
            now = {"paused": pay.paused is not None, "reads": bool(worker.partitions)}
            for word in now:
                if now[word] != was.get(word, False):
                    tell(word if now[word] else "not " + word)
            was = now
            await asyncio.sleep(0.02)

asyncio.run(main())
"""


class Service:
    """One process, and what it tells."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[str] = []

    async def until(self, what: str) -> float:
        """When it told this, by the clock of all processes of a machine."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while line := (await self.process.stdout.readline()).decode().strip():
                at, _, words = line.partition(" ")
                self.told.append(words)
                if words.startswith(what):
                    return float(at)
        raise AssertionError(f"it has ended after {self.told}, and never told {what!r}")


@asynccontextmanager
async def service(name: str, cluster: Cluster) -> AsyncIterator[Service]:
    arguments = ("-c", PROGRAM, name, cluster.bootstrap)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        yield Service(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def frozen_replayer(parts: Parts, name: str) -> AsyncIterator[None]:
    """It stands still inside a transaction, as long as this lasts."""
    frozen = parts.transport.transactional(f"{name}.dlq/{name}", 60.0)
    await frozen.claim()
    try:
        await frozen.write({TopicPartition(f"{name}.dlq.state", 0): [OutgoingRecord(b"letter/x/0/0", b"{}")]})
        yield
    finally:
        await frozen.abort()
        await frozen.stop(parts.clock.now() + 5)


@pytest.fixture
def parts(kafka: Cluster, unique: str) -> Parts:
    clock, settings = SystemClock(), settings_of(kafka, unique)
    return parts_for(settings, transport_for(settings, clock), clock)


async def test_two_processes_pause_and_go_on_within_seconds_and_a_new_one_begins_paused(
    kafka: Cluster, unique: str, parts: Parts
) -> None:
    ops, writer = Operations(parts), Independent(kafka.bootstrap)
    await asyncio.to_thread(kafka.create_topic, f"{unique}.placed", 2)
    await asyncio.to_thread(
        kafka.create_topic, f"{unique}.dlq.state", 1, config={"cleanup.policy": "compact"}
    )
    async with AsyncExitStack() as running:
        both = [await running.enter_async_context(service(unique, kafka)) for _ in range(2)]
        for each in both:
            await each.until("reads")
        await running.enter_async_context(frozen_replayer(parts, unique))

        await ops.pause("pay", by="ada", reason="database away")
        said = time.monotonic()
        for each in both:
            assert await each.until("paused") - said <= LOOK_SECONDS + MARGIN_SECONDS

        both[0].process.kill()
        again = await running.enter_async_context(service(unique, kafka))
        for partition in range(2):
            await asyncio.to_thread(writer.write, f"{unique}.placed", [b"1", b"2"], partition=partition)
        await again.until("reads")
        assert again.told == ["paused", "reads"], "it knew before it read anything"

        said = time.monotonic()
        await ops.resume("pay", by="ada")
        written = time.monotonic()
        for each in (both[1], again):
            began = await each.until("handled 1")
            assert said <= began <= written + LOOK_SECONDS + MARGIN_SECONDS
            await each.until("handled 2")
