"""On a real Kafka a list of dead letters takes little longer than reading them."""

from __future__ import annotations

import time
import uuid
from contextlib import aclosing
from statistics import median

import pytest

from convex_messaging_fastapi import MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.operations import Operations
from convex_messaging_fastapi.parts import Parts, parts_for, transport_for
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Verdict
from tests.operations.support import a_letter, original
from tests.operations.test_cost import of_1500_bytes
from tools.kafka.cluster import Cluster

RATIO = 3.0
PARTITIONS = 4


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_letters_are_listed_in_three_times_what_reading_them_takes(
    kafka: Cluster, unique: str, count: int
) -> None:
    settings = MessagingSettings(
        bootstrap_servers=kafka.bootstrap, topic_prefix=unique, consumer_group=unique
    )
    clock = SystemClock()
    parts = parts_for(settings, transport_for(settings, clock), clock)
    await bury(parts, count)
    operations = Operations(parts)
    ratios = []
    for _ in range(3):
        began = time.monotonic()
        assert await read(parts) == count
        raw = time.monotonic() - began
        began = time.monotonic()
        page = await operations.dead_letters()
        listed = time.monotonic() - began
        assert (page.matched, len(page.letters), len(page.groups)) == (count, 200, 1)
        ratios.append(listed / raw)
        operations = Operations(parts)  # which shares no list with the one before
    print(f"{count} letters: read in {raw:.2f} s, listed in {median(ratios):.2f} times that")  # noqa: T201
    assert median(ratios) <= RATIO


async def bury(parts: Parts, count: int) -> None:
    """So many letters of 1.5 kB, about different messages."""
    topic = parts.naming.dead_letters
    await parts.admin.ensure_topic(NewTopic(topic, PARTITIONS))
    letter = a_letter(original(value=of_1500_bytes()))
    others = [header for header in letter.headers if header[0] != "message-id"]
    producer = parts.transport.producer()
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            numbers = range(partition, count, PARTITIONS)
            ids = [("message-id", str(uuid.UUID(int=number)).encode()) for number in numbers]
            left = [letter._replace(headers=(id, *others)) for id in ids]
            while left:
                sent = await producer.send(TopicPartition(topic, partition), left[:500])
                assert sent.verdict is Verdict.WRITTEN, sent
                del left[: sent.taken]
    finally:
        await producer.stop(parts.clock.now() + 5)


async def read(parts: Parts) -> int:
    reader = parts.transport.log_reader()
    count = 0
    async with aclosing(reader.read(await reader.ranges(parts.naming.dead_letters))) as lists:
        async for records in lists:
            count += len(records)
    return count
