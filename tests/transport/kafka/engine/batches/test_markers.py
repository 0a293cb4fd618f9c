"""What transactions and the cleaner leave in a log is read as Kafka's own consumer reads it."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from convex_messaging_fastapi.transport.kafka.engine.partition_reader import make_ours
from tests.support.batches import batch, emptied, in_transaction, marker
from tests.support.independent import Independent
from tests.transport.kafka.bench import Bench
from tests.transport.kafka.consumer.test_gaps import compact_soon
from tools.kafka.cluster import Cluster

WHERE = TopicPartition("orders", 0)
ONE, OTHER = 7, 8


class Log(NamedTuple):
    """Batches as a broker has them, the transactions that it says were aborted, and what is to be read."""

    batches: tuple[bytes, ...]
    aborted: tuple[tuple[int, int], ...]
    offsets: list[int]
    end: int


LOGS = {
    "a marker that the cleaner took away": Log(
        (in_transaction(0, ONE, b"a"), emptied(1, 1, control=True, producer=ONE)), (), [0], 2
    ),
    "a marker that was taken away first of all": Log(
        (emptied(0, 3, control=True, producer=ONE), in_transaction(4, ONE, b"a")), (), [4], 5
    ),
    "records that the cleaner took away": Log(
        (emptied(0, 4, producer=ONE), in_transaction(5, ONE, b"a"), emptied(6, 9)), (), [5], 10
    ),
    "nothing but what the cleaner left": Log(
        (emptied(0, 4), emptied(5, 5, control=True, producer=ONE), emptied(6, 6, control=True)), (), [], 7
    ),
    "another's marker that was taken away amid an aborted transaction": Log(
        (
            in_transaction(0, ONE, b"aborted"),
            emptied(1, 1, control=True, producer=OTHER),
            in_transaction(2, ONE, b"aborted"),
            marker(3, ONE, abort=True),
            in_transaction(4, ONE, b"a"),
            marker(5, ONE, abort=False),
        ),
        ((ONE, 0),),
        [4],
        6,
    ),
    "a marker of a later version": Log(
        (
            in_transaction(0, ONE, b"aborted"),
            marker(1, ONE, abort=True, version=1),
            in_transaction(2, ONE, b"a"),
            marker(3, ONE, abort=False, version=1),
        ),
        ((ONE, 0),),
        [2],
        4,
    ),
}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS.keys())
def test_what_was_committed_is_read_and_what_is_empty_is_passed(log: Log) -> None:
    records = PartitionRecords(
        WHERE, MemoryRecords(b"".join(log.batches)), list(log.aborted), 0, None, None, True, READ_COMMITTED
    )
    make_ours(_holding(records))
    assert [record.offset for record in records] == log.offsets
    assert records.next_fetch_offset == log.end


def test_what_is_damaged_is_still_damage() -> None:
    damaged = bytearray(batch((b"a", [])) + marker(1, ONE, abort=True))
    damaged[-1] ^= 1
    records = PartitionRecords(WHERE, MemoryRecords(bytes(damaged)), [], 0, None, None, True, READ_COMMITTED)
    make_ours(_holding(records))
    assert next(records).offset == 0
    with pytest.raises(Exception, match="CRC"):
        next(records)


def _holding(records: PartitionRecords) -> FetchResult:
    held: Any = FetchResult.__new__(FetchResult)
    held._partition_records = records
    return held


@pytest.mark.kafka
async def test_a_compacted_topic_of_transactions_is_read_as_another_client_reads_it(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    await asyncio.to_thread(compact_soon, kafka)
    quickly = {
        "cleanup.policy": "compact",
        "segment.ms": "50",
        "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": "50",
    }
    topic = kafka.create_topic(unique, partitions=1, config=quickly)
    await asyncio.to_thread(write_and_leave_a_transaction, kafka, topic)
    client = AIOKafkaClient(bootstrap_servers=kafka.bootstrap)
    await client.bootstrap()
    try:
        async with asyncio.timeout(60):
            while not await has_emptied_marker(client, topic):
                await asyncio.to_thread(independent.write, topic, [b"work"] * 5, key="the same")
    finally:
        await client.close()
    before = [seen.offset for seen in await asyncio.to_thread(independent.read, topic)]
    bench = Bench(kafka.bootstrap, real=True)
    try:
        reader = await bench.reader(topic, group=unique)
        end = (await asyncio.to_thread(independent.ends, topic))[0]
        await reader.until(lambda: set(reader.positions.values()) == {end}, "the end of the log")
        after = [seen.offset for seen in await asyncio.to_thread(independent.read, topic)]
        ours = [record.offset for record in reader.records]
        assert ours == sorted(ours)
        assert set(after) <= set(ours) <= set(before), "the cleaner may work meanwhile"
        assert reader.consumer.contact().problem is None
    finally:
        await bench.close()


def write_and_leave_a_transaction(cluster: Cluster, topic: str) -> None:
    """Its successor aborts it by a marker of a new epoch, and writes nothing of its own.

    So that marker is the last that its producer has in the log, and its batch is kept when it is emptied.
    """
    producers = [
        Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": topic}) for _ in range(2)
    ]
    producers[0].init_transactions(10)
    producers[0].begin_transaction()
    producers[0].produce(topic, b"never", "the same")
    producers[0].flush(10)
    producers[1].init_transactions(10)


async def has_emptied_marker(client: AIOKafkaClient, topic: str) -> bool:
    asked = FetchRequest(100, 1, 2**20, READ_COMMITTED, [(topic, [(0, 0, 2**20)])])
    answer = await client.send(1, asked)
    batches = MemoryRecords(answer.topics[0][1][0][-1])
    while batches.has_next():
        batch = batches.next_batch()
        if batch.is_control_batch and next(batch, None) is None:
            return True
    return False
