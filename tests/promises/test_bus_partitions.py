"""A key lands where confluent-kafka would put it, from end to end on a real Kafka."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.publishing import PartitionerName
from tests.support.independent import Independent
from tools.kafka.cluster import Cluster

PARTITIONS = 7
KEYS = [b"", *(f"{kind}-{number}".encode() for number in range(250) for kind in ("user", "x", "bet", "é"))]


@pytest.mark.parametrize(("ours", "theirs"), [("murmur2", "murmur2"), ("crc32", "consistent")])
async def test_a_thousand_keys_of_ours_and_of_confluent_kafka_share_their_partitions(
    kafka: Cluster, independent: Independent, unique: str, ours: PartitionerName, theirs: str
) -> None:
    """Both write every key to one topic; the independent reader says where each was found."""
    topic = kafka.create_topic(f"{unique}.keys", partitions=PARTITIONS)
    settings = MessagingSettings(bootstrap_servers=kafka.bootstrap, topic_prefix=unique, partitioner=ours)
    async with MessageBus(settings) as bus:
        receipts = await bus.publish_many("keys", range(len(KEYS)), key=KEYS.__getitem__)
    await asyncio.to_thread(produce, kafka.bootstrap, topic, theirs)

    found: dict[bytes | None, list[int]] = {}
    for seen in await asyncio.to_thread(independent.read, topic):
        found.setdefault(seen.key, []).append(seen.partition)
    assert set(found) == set(KEYS)
    apart = {key: where for key, where in found.items() if len(where) != 2 or len(set(where)) != 1}
    assert not apart, "written by both, and to one partition"
    assert [receipt.partition for receipt in receipts] == [found[key][0] for key in KEYS]
    assert {where[0] for where in found.values()} == set(range(PARTITIONS))


def produce(bootstrap: str, topic: str, partitioner: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": partitioner})
    for key in KEYS:
        producer.produce(topic, key=key, value=b'{"by":"them"}')
    assert producer.flush(30) == 0
