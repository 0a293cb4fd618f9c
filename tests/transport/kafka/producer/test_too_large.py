"""What a real Kafka does not take costs nobody but itself: too large, or no record for its topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Verdict
from convex_messaging_fastapi.transport.kafka.producer.producer import KafkaProducer
from tests.support.independent import Independent
from tests.transport.kafka.bench import Bench, records
from tools.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka

LIMIT = 20_000


@pytest.fixture
async def real(kafka: Cluster) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, real=True)
    yield bench
    await bench.close()


async def write(producer: KafkaProducer, where: TopicPartition, values: list[bytes]) -> list[Verdict]:
    """One after another, as a queue of the publisher does."""
    verdicts: list[Verdict] = []
    while values:
        sent = await producer.send(where, records(*values))
        verdicts += [sent.verdict] * sent.taken
        values = values[sent.taken :]
    return verdicts


async def test_refused_records_of_ever_smaller_sizes_replace_no_producer_and_lose_no_neighbour(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    topic = kafka.create_topic(unique, partitions=1, config={"max.message.bytes": str(LIMIT)})
    where, producer = TopicPartition(topic, 0), await real.producer()
    values: list[bytes] = []
    for number in range(30):
        values += [b"good-%d" % number, b"x" * (LIMIT + 3000 - 100 * number)]
    values.append(b"last")
    verdicts = await write(producer, where, values)
    assert verdicts == [Verdict.WRITTEN, Verdict.TOO_LARGE] * 30 + [Verdict.WRITTEN]
    assert producer.contact().rebuilds == 0
    read = [record.value for record in independent.read(topic)]
    assert read == [value for value in values if len(value) < LIMIT]


async def test_records_that_a_compacted_topic_does_not_take_replace_no_producer(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    topic = kafka.create_topic(unique, partitions=1, config={"cleanup.policy": "compact"})
    where, producer = TopicPartition(topic, 0), await real.producer()
    for number in range(20):
        keyless = await producer.send(where, [OutgoingRecord(None, b"bad")])
        assert keyless.verdict is Verdict.REFUSED
        good = [OutgoingRecord(b"k%d" % number, b"1"), OutgoingRecord(b"k%d" % number, b"2")]
        assert (await producer.send(where, good)).verdict is Verdict.WRITTEN
    assert producer.contact().rebuilds == 0
    assert len(independent.read(topic)) == 40


async def test_of_a_batch_only_those_are_refused_that_a_compacted_topic_does_not_take(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    topic = kafka.create_topic(unique, partitions=1, config={"cleanup.policy": "compact"})
    where, producer = TopicPartition(topic, 0), await real.producer()
    batch = [OutgoingRecord(None if n in (0, 7, 8, 31) else b"k%d" % n, b"%d" % n) for n in range(32)]
    verdicts: list[Verdict] = []
    while left := batch[len(verdicts) :]:
        sent = await producer.send(where, left)
        verdicts += [sent.verdict] * sent.taken
    assert [verdict is Verdict.REFUSED for verdict in verdicts] == [each.key is None for each in batch]
    assert producer.contact().rebuilds == 0
    read = [record.value for record in independent.read(topic)]
    assert read == [each.value for each in batch if each.key is not None]


async def test_a_batch_that_is_too_large_as_a_whole_is_sent_in_parts_and_replaces_no_producer(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    topic = kafka.create_topic(unique, partitions=1, config={"max.message.bytes": str(LIMIT)})
    where, producer = TopicPartition(topic, 0), await real.producer()
    values = [b"%05d" % number * 100 for number in range(1000)]
    assert set(await write(producer, where, values)) == {Verdict.WRITTEN}
    assert producer.contact().rebuilds == 0
    assert [record.value for record in independent.read(topic)] == values


async def test_more_than_one_request_may_hold_is_written_in_several(
    real: Bench, kafka: Cluster, unique: str
) -> None:
    """A broker would hang up on the request with all of it, and be sent the same for ever."""
    size = 15 * 1024 * 1024
    topic = kafka.create_topic(unique, partitions=8, config={"max.message.bytes": str(size + 1024)})
    producer = await real.producer(request_timeout_ms=30_000)
    places = [TopicPartition(topic, partition) for partition in range(8)]
    await asyncio.gather(*(producer.send(where, records(b"warm")) for where in places))
    value = bytes(size)
    sent = await asyncio.gather(*(producer.send(where, records(value)) for where in places))
    assert {each.verdict for each in sent} == {Verdict.WRITTEN}
    assert producer.contact().rebuilds == 0
