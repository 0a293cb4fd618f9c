"""A real Kafka that is gone for a while, or comes back at another address."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Verdict
from convex_messaging_fastapi.transport.kafka.engine.log_filter import EngineLogFilter, calm_engine_logs
from convex_messaging_fastapi.transport.kafka.producer.producer import KafkaProducer
from tests.support.independent import Independent
from tests.support.required import start_or_skip
from tests.transport.kafka.bench import Bench
from tests.transport.kafka.bench import records as of
from tests.transport.kafka.movable import Movable, door_to, movable_cluster
from tools.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka


@pytest.fixture
async def real(kafka: Cluster) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, real=True)
    yield bench
    await bench.close()


@pytest.fixture
def fresh_filters() -> None:
    """As in a process that has just begun: tests before this one may have made the engine say much."""
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        for filter in [each for each in logger.filters if isinstance(each, EngineLogFilter)]:
            logger.removeFilter(filter)
    calm_engine_logs(SystemClock())


@pytest.fixture
def movable() -> Iterator[Movable]:
    with ExitStack() as ends:
        yield start_or_skip(ends, movable_cluster())


async def send_until_written(producer: KafkaProducer, where: TopicPartition, value: bytes) -> None:
    while (await producer.send(where, of(value))).verdict is not Verdict.WRITTEN:
        pass


@pytest.mark.faults
async def test_a_cluster_whose_addresses_have_all_changed_is_found_again(
    movable: Movable, unique: str
) -> None:
    """By the bootstrap servers, which the engine forgets after its first look at them."""
    where = TopicPartition(movable.cluster.create_topic(unique, 1), 0)
    async with door_to(movable) as door, AsyncExitStack() as ends:
        bench = Bench(door, real=True)
        ends.push_async_callback(bench.close)
        patience: dict[str, Any] = {"tuning": {"replace_after_seconds": 1.0}}
        producer = await bench.producer(**patience)
        reader = await bench.reader(unique, group=unique, **patience)
        assert (await producer.send(where, of(b"a"))).verdict is Verdict.WRITTEN
        assert await reader.read(1) == [b"a"]
        assert await reader.commit({where: 1}) is CommitOutcome.COMMITTED

        await asyncio.to_thread(movable.move)
        moved = bench.clock.now()
        sending = asyncio.ensure_future(send_until_written(producer, where, b"b"))
        await reader.until(lambda: len(reader.records) > 1 and sending.done(), "the next record", 30)
        assert bench.clock.now() - moved < 15
        assert reader.records[-1].value == b"b"
        assert await reader.commit({where: reader.positions[where]}) is CommitOutcome.COMMITTED
        assert (producer.contact().problem, reader.consumer.contact().problem) == (None, None)


async def test_brokers_that_die_while_somebody_joins_hold_up_no_stop_and_lose_no_member(
    real: Bench,
    kafka: Cluster,
    independent: Independent,
    unique: str,
    caplog: pytest.LogCaptureFixture,
    fresh_filters: None,
) -> None:
    """The engine's calls that wait for a join never return after that. And its log stays readable."""
    where = TopicPartition(kafka.create_topic(unique, partitions=1), 0)
    await real.write(b"a", topic=unique)
    first = await real.reader(unique, group=unique)
    await first.read(1)
    draining, drained = asyncio.Event(), asyncio.Event()

    async def drain(epoch: int, deadline: float) -> None:
        draining.set()
        await drained.wait()

    first.listener.on_revoked = drain
    second, third = await real.reader(unique, group=unique), await real.reader(unique, group=unique)
    first_goes_on = asyncio.ensure_future(first.until(draining.is_set, "a revocation"))
    await second.until(draining.is_set, "a revocation")
    await first_goes_on

    caplog.set_level(logging.INFO)
    await asyncio.to_thread(kafka.brokers[0].kill)
    killed = real.clock.now()
    await second.consumer.stop(killed + 2)
    assert real.clock.now() - killed < 2.5
    drained.set()
    first.listener.on_revoked = None
    await third.until(lambda: real.clock.now() > killed + 4, "four seconds of it")
    said = Counter(record.name for record in caplog.records if record.levelno > logging.DEBUG)
    assert sum(said.values()) < 40, said

    await asyncio.to_thread(kafka.heal)
    healed = real.clock.now()
    await real.write(b"b", topic=unique)
    both = (first, third)
    await asyncio.gather(
        *(
            reader.until(
                lambda: {r.value for x in both for r in x.records} >= {b"a", b"b"}, "the next record"
            )
            for reader in both
        )
    )
    assert real.clock.now() - healed < 12, "a session and a heartbeat or two"
    owner = next(reader for reader in both if where in reader.listener.held)
    assert await owner.commit({where: 2}) is CommitOutcome.COMMITTED
    assert (await asyncio.to_thread(independent.committed, unique, unique))[0].offset == 2
