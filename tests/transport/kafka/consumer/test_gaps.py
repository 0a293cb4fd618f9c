"""Offsets of a real Kafka that hold no message: transactions' markers, what was aborted or compacted away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from convex_messaging_fastapi import Delivery
from tests.support.independent import Independent
from tests.support.waiting import eventually, until
from tests.transport.kafka.bench import bus_over
from tools.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka

SECONDS = 15


class Work:
    """A bus that handles one topic, and what it has handled."""

    def __init__(self, cluster: Cluster, topic: str, as_soon_as_finished: bool) -> None:
        self._witness, self._topic = Independent(cluster.bootstrap), topic
        self.handled: list[int] = []
        self.bus = bus_over(
            cluster.bootstrap,
            topic,
            enable_auto_commit=not as_soon_as_finished,
            auto_commit_interval_ms=100,
        )
        self.bus.subscriber(topic)(self._handle)

    async def _handle(self, message: bytes, delivery: Delivery) -> None:
        self.handled.append(delivery.offset)

    async def committed(self) -> int:
        stored = await asyncio.to_thread(self._witness.committed, self._topic, self._topic)
        return stored[0].offset if stored else -1

    async def until_committed(self, offset: int) -> None:
        async with asyncio.timeout(SECONDS):
            while await self.committed() != offset:
                pass

    async def end(self) -> int:
        return (await asyncio.to_thread(self._witness.ends, self._topic))[0]


@asynccontextmanager
async def at_work(cluster: Cluster, topic: str, *, as_soon_as_finished: bool) -> AsyncIterator[Work]:
    work = Work(cluster, topic, as_soon_as_finished)
    async with work.bus:
        yield work


@contextmanager
def transactions(cluster: Cluster, id: str) -> Iterator[Producer]:
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": id})
    producer.init_transactions(SECONDS)
    yield producer
    producer.flush(SECONDS)


def write(producer: Producer, topic: str, count: int) -> None:
    """A transaction, left open."""
    producer.begin_transaction()
    for _ in range(count):
        producer.produce(topic, b"work", partition=0)
    producer.flush(SECONDS)


@pytest.mark.parametrize("as_soon_as_finished", [False, True])
async def test_commits_pass_markers_and_aborted_records_and_wait_for_an_open_transaction(
    kafka: Cluster, unique: str, as_soon_as_finished: bool
) -> None:
    kafka.create_topic(unique, partitions=1)
    with transactions(kafka, unique) as producer:
        await asyncio.to_thread(write, producer, unique, 3)
        await asyncio.to_thread(producer.commit_transaction, SECONDS)
        await asyncio.to_thread(write, producer, unique, 2)
        await asyncio.to_thread(producer.abort_transaction, SECONDS)
        # 0 1 2 committed, 3 their marker, 4 5 aborted, 6 theirs, 7 8 open
        await asyncio.to_thread(write, producer, unique, 2)
        async with at_work(kafka, unique, as_soon_as_finished=as_soon_as_finished) as work:
            await work.until_committed(7)
            assert work.handled == [0, 1, 2]
            await asyncio.to_thread(producer.commit_transaction, SECONDS)
            await work.until_committed(10)
            assert work.handled == [0, 1, 2, 7, 8]
            assert await work.end() == 10
            await asyncio.to_thread(write, producer, unique, 2)
            await asyncio.to_thread(producer.abort_transaction, SECONDS)
            await work.until_committed(13)
    assert await work.end() == 13
    assert work.handled == [0, 1, 2, 7, 8]


async def test_commits_pass_what_was_compacted_away(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    await asyncio.to_thread(compact_soon, kafka)
    quickly = {"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.01"}
    kafka.create_topic(unique, partitions=1, config=quickly)
    await asyncio.to_thread(write_until_compacted, independent, unique)
    left = [seen.offset for seen in await asyncio.to_thread(independent.read, unique)]
    end = (await asyncio.to_thread(independent.ends, unique))[0]
    assert len(left) < end

    async with at_work(kafka, unique, as_soon_as_finished=False) as work:
        await eventually(lambda: len(work.handled) >= len(left), SECONDS, "all that is left")
        await work.until_committed(end)
    assert work.handled == left


def compact_soon(cluster: Cluster) -> None:
    """The cleaner looks for work every fifteen seconds otherwise."""
    admin = cluster.admin()
    entry = ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=AlterConfigOpType.SET)
    everywhere = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
    for altered in admin.incremental_alter_configs([everywhere]).values():
        altered.result(10)


def write_until_compacted(independent: Independent, topic: str) -> None:
    """Only what is not in the newest segment is compacted, and only a write begins a new one."""

    def write_more() -> bool:
        independent.write(topic, [b"work"] * 20, key="the same")
        return len(independent.read(topic)) < independent.ends(topic)[0]

    until(write_more, 30, "a compaction")
