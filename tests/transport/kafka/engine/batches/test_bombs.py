"""Small batches that unpack to very much, in a real Kafka: neither the process nor its other work suffers."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as TheirPartition

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.transport.kafka.tuning import Tuning
from convex_messaging_fastapi.verdicts import live, overall, ready
from tests.support.batches import GZIP, ZSTD, bomb
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tests.transport.kafka.bench import bus_over
from tools.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka

MEBIBYTES = 300
SECONDS = 20


async def plant(kafka: Cluster, topic: str, codec: int, records: int = 1) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        await (await producer.send_batch(bomb(MEBIBYTES // records, codec, records), topic, partition=0))
    finally:
        await producer.stop()


def commit(kafka: Cluster, group: str, where: TheirPartition) -> None:
    """As an operator's tool does, while the group is empty."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    consumer.commit(offsets=[where], asynchronous=False)
    consumer.close()


def peak() -> float:
    """The most memory that this process ever had, in MiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


@pytest.mark.parametrize("codec", [GZIP, ZSTD], ids=["gzip", "zstd"])
async def test_a_bomb_holds_up_its_partition_and_nothing_else(
    kafka: Cluster, independent: Independent, unique: str, codec: int
) -> None:
    kafka.create_topic(unique, partitions=2)
    await asyncio.to_thread(independent.write, unique, [b"before"], partition=0)
    await plant(kafka, unique, codec)
    await asyncio.to_thread(independent.write, unique, [b"behind"], partition=0)
    handled: list[bytes] = []
    bus = bus_over(kafka.bootstrap, unique, enable_auto_commit=False)

    @bus.subscriber(unique)
    async def handle(message: bytes) -> None:
        handled.append(message)

    before = peak()
    async with bus:
        await eventually(lambda: overall(bus.status()).reasons == ("unreadable",), SECONDS, "a word of it")
        await asyncio.to_thread(independent.write, unique, [b"elsewhere"], partition=1)
        await eventually(lambda: sorted(handled) == [b"before", b"elsewhere"], SECONDS, "the rest")
        assert live(bus.status()).ok
        assert ready(bus.status()).ok
        (worker,) = bus.status().workers
        assert f"{unique}/0 at 1: UnpacksTooLarge: a batch of" in worker.contact.detail
        assert "raise max_buffer_bytes, or to skip this batch, stop the group" in worker.contact.detail
        assert worker.contact.detail.endswith("set its offset to 2")
    assert peak() - before < MEBIBYTES / 2
    committed = await asyncio.to_thread(independent.committed, unique, unique)
    assert {partition: stored.offset for partition, stored in committed.items()} == {0: 1, 1: 1}

    await asyncio.to_thread(commit, kafka, unique, TheirPartition(unique, 0, 2))
    async with bus:
        await eventually(lambda: handled[2:] == [b"behind"], SECONDS, "what stands behind it")


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is given up after a second, for nobody waits a minute here."""
    tuning = partial(Tuning, unreadable_seconds=1.0, partition_pause_seconds=0.2)
    monkeypatch.setattr("convex_messaging_fastapi.transport.kafka.transport.Tuning", tuning)


async def test_unreadable_bury_writes_a_letter_about_a_bomb_and_reads_on_behind_it(
    kafka: Cluster, independent: Independent, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    topic = f"{unique}.notes"
    kafka.create_topic(topic, partitions=1)
    await asyncio.to_thread(independent.write, topic, [b"before"])
    await plant(kafka, topic, ZSTD, records=3)
    await asyncio.to_thread(independent.write, topic, [b"behind"])
    handled: list[bytes] = []

    def new_bus() -> MessageBus:
        bus = bus_over(kafka.bootstrap, unique, topic_prefix=unique, unreadable="bury")

        @bus.subscriber("notes", dead_letter="discard")
        async def handle(message: bytes) -> None:
            handled.append(message)

        return bus

    async with (bus := new_bus()):
        await eventually(lambda: handled == [b"before", b"behind"], SECONDS, "what stands behind it")
        (worker,) = bus.status().workers
        assert worker.records_lost == 3
        (loss,) = worker.losses
        assert (loss.from_offset, loss.to_offset) == (1, 4)
        assert ready(bus.status()).ok
        assert worker.contact.problem is None
    committed = await asyncio.to_thread(independent.committed, unique, topic)
    assert {partition: stored.offset for partition, stored in committed.items()} == {0: 5}

    await asyncio.to_thread(independent.write, topic, [b"later"])
    async with (bus := new_bus()):
        await eventually(lambda: handled[2:] == [b"later"], SECONDS, "what came later")
        assert bus.status().workers[0].records_lost == 0
    (written,) = await asyncio.to_thread(independent.read, f"{unique}.dlq")
    letter = json.loads(written.value or b"")
    assert (letter["OriginalTopic"], letter["OriginalPartition"]) == (topic, 0)
    assert (letter["OriginalOffset"], letter["OriginalLastOffset"]) == (1, 3)
    assert (letter["PayloadOmitted"], letter["ConsumerGroup"]) == (True, unique)
    assert letter["ExceptionType"] == "UnpacksTooLarge"
    assert "unpacks to more than" in letter["ErrorMessage"]
