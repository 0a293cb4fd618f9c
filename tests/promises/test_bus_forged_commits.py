"""Whoever may commit for a group can say what is finished: on a real Kafka, by a plain client."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.consuming.offset_metadata import Range, encode
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster

BEFORE, AFTER = 3, 5
FAR = 2**62


@pytest.mark.parametrize(
    ("finished", "ahead_seconds", "skipped"),
    [
        (Range(0, FAR), 0, {0, 1, 2}),
        (Range(1, 2), 0, {1}),
        (Range(2**40, FAR), 0, set()),
        (Range(0, FAR), 3600, set()),
    ],
    ids=["everything for ever", "one", "only what is to come", "later than now"],
)
async def test_a_forged_commit_skips_nothing_that_is_to_come_and_what_it_skips_is_told(
    kafka: Cluster,
    independent: Independent,
    unique: str,
    caplog: pytest.LogCaptureFixture,
    finished: Range,
    ahead_seconds: int,
    skipped: set[int],
) -> None:
    caplog.set_level(logging.INFO)
    topic = f"{unique}.numbers"
    await asyncio.to_thread(kafka.create_topic, topic, 1)
    await asyncio.to_thread(independent.write, topic, [str(n) for n in range(BEFORE)])
    metadata = encode(0, [finished], int((time.time() + ahead_seconds) * 1000))
    await commit(kafka, unique, TopicPartition(topic, 0), OffsetAndMetadata(0, metadata))
    settings = MessagingSettings(
        bootstrap_servers=kafka.bootstrap, topic_prefix=unique, consumer_group=unique
    )
    bus, got = MessageBus(settings), list[int]()

    @bus.subscriber("numbers")
    async def handle(number: int) -> None:
        got.append(number)

    async with bus:
        await eventually(lambda: bus.status().workers[0].partitions, 30, "the assignment")
        numbers = [str(n) for n in range(BEFORE, BEFORE + AFTER)]
        await asyncio.to_thread(independent.write, topic, numbers)
        await eventually(lambda: BEFORE + AFTER - 1 in got, 30, "the last message")
        (partition,) = bus.status().workers[0].partitions
        assert got == [n for n in range(BEFORE + AFTER) if n not in skipped]
        assert partition.passed_over == len(skipped)
    assert len([line for line in caplog.messages if "passes over" in line]) == 1
    committed = await asyncio.to_thread(independent.committed, unique, topic)
    assert committed[0].offset == BEFORE + AFTER


async def commit(kafka: Cluster, group: str, where: TopicPartition, stored: OffsetAndMetadata) -> None:
    """As anybody can who has the right to read for a group that has no members now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([where])
        await consumer.commit({where: stored})
    finally:
        await consumer.stop()
