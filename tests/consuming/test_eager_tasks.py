"""A task may begin, and end, before whoever made it goes on: nothing is stored of it that it has outlived."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest

import convex_messaging_fastapi
from convex_messaging_fastapi.records import TopicPartition
from tests.bus.support import memory_bus
from tests.consuming.support import WHERE, Bench
from tests.consuming.test_worker import Handler
from tests.support.eager import eagerly

PACKAGE = Path(convex_messaging_fastapi.__file__).parent

STORED = {
    "bus.py": "nothing of it is kept",
    "cli/commands/acting.py": "only awaited",
    "changes.py": "what has ended is discarded in a turn of its own",
    "console/desk.py": "what has ended is let go of in a turn of its own",
    "consuming/dead_letters/writer.py": "what has ended is forgotten in a turn of its own",
    "consuming/subscription.py": "a runner enters itself, and is added only if it has not ended",
    "consuming/loops.py": "these two never end by themselves",
    "life.py": "the one stop of a life is kept until the next start",
    "machine.py": "only awaited",
    "operations/replaying/actions.py": "what is done is looked at by whether it is done",
    "operations/scanning.py": "what is done is looked at by whether it is done",
    "pausing.py": "it is only cancelled, after the start",
    "topic_creation.py": "what has ended is forgotten in a turn of its own",
    "publishing/batches.py": "tests of publishing",
    "publishing/publisher.py": "only awaited",
    "publishing/topics.py": "tests of publishing",
    "testing.py": "only awaited",
    "transport/kafka/offsets/course.py": "what is done is looked at by whether it is done",
    "transport/kafka/engine/connections/client.py": "what is done is looked at by whether it is done",
    "transport/kafka/engine/connections/ending.py": "what is done is looked at by whether it is done",
    "transport/kafka/engine/groups/ghosts.py": "only awaited",
    "transport/kafka/producer/transactional.py": "only awaited",
    "transport/kafka/offsets/lookup.py": "only awaited",
    "outbox/relay.py": "only awaited",
    "transport/kafka/offsets/storing.py": "only awaited",
    "transport/kafka/recovery/engines.py": "what has ended is discarded in a turn of its own",
    "transport/kafka/recovery/probe.py": "only awaited",
    "transport/kafka/recovery/supervisor.py": "what is done is looked at by whether it is done",
}
"""Every file that makes tasks, and why it may: a new one must say so here."""


async def test_the_factory_begins_at_once() -> None:
    seen: list[object] = []

    async def look() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    with eagerly():
        here = asyncio.current_task()
        task = asyncio.create_task(look())
        assert seen == [task]
        assert asyncio.current_task() is here
        await task
        assert seen == [task, task]


def test_every_place_that_makes_a_task_is_known() -> None:
    makes = re.compile(r"\b(?:create_task|ensure_future)\(")
    found = {
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if makes.search(path.read_text())
    }
    assert found <= STORED.keys()


@pytest.mark.parametrize("concurrency", [1, 3, 8])
async def test_a_drain_sees_the_handlers_that_are_at_work(concurrency: int) -> None:
    handler = Handler(*range(8))
    with eagerly():
        async with Bench(handler, concurrency=concurrency) as bench:
            bench.transport.assign()
            bench.transport.feed(*range(8))
            await bench.turns()
            assert bench.subscription.status().running == concurrency
            assert len(handler.begun) == concurrency

            revoked = bench.transport.revoke(bench.clock.now() + 5)
            await bench.turns()
            assert not revoked.done()
            handler.gate.set()
            await revoked
            assert bench.subscription.status().running == 0
            assert sorted(handler.finished) == list(range(concurrency))
            assert bench.transport.committed == {WHERE: concurrency}


async def test_the_end_of_a_drain_cancels_the_handlers_that_are_at_work() -> None:
    handler = Handler(*range(4))
    with eagerly():
        async with Bench(handler, concurrency=4) as bench:
            bench.transport.assign()
            bench.transport.feed(*range(4))
            await bench.turns()
            revoked = bench.transport.revoke(bench.clock.now() + 1)
            await bench.advance(1)
            await revoked
            assert sorted(handler.cancelled) == list(range(4))


async def test_runners_that_end_at_once_leave_their_place_to_others() -> None:
    done: Counter[int] = Counter()

    async def handle(message: int) -> None:
        done[message] += 1
        if message % 3 == 0:
            await asyncio.sleep(0)

    with eagerly():
        async with Bench(handle, concurrency=2) as bench:
            bench.transport.assign(WHERE, TopicPartition(WHERE.topic, 1))
            for offset in range(0, 60, 6):
                bench.transport.feed(*range(offset, offset + 6))
                await bench.turns()
            assert done == Counter(range(60))
            assert bench.subscription.status().running == 0
            await bench.advance(6)
            assert bench.transport.committed[WHERE] == 60


async def test_a_whole_bus_lives_on_such_a_loop() -> None:
    bus = memory_bus(drain_timeout_seconds=0.5, shutdown_timeout_seconds=2, max_uncommitted=20)
    got: list[int] = []
    most = now = 0

    @bus.subscriber("numbers", concurrency=4)
    async def handle(message: int) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        got.append(message)

    with eagerly():
        async with bus.test() as t:
            await bus.publish_many("numbers", list(range(50)), key=lambda n: str(n % 7))
            await t.settle()
            assert sorted(got) == list(range(50))
            assert 1 < most <= 4
            added = await bus.subscribe("numbers", lambda message: None, id="late")
            assert await bus.unsubscribe(added)
            assert bus.status().workers[0].subscriptions[0].running == 0
    assert now == 0
