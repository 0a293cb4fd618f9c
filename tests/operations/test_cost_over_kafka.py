"""On a real Kafka a list of dead letters takes a few times what reading them takes."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from dataclasses import replace

import pytest

from convex_messaging_fastapi import MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.operations import Operations, scanning
from convex_messaging_fastapi.parts import Parts, parts_for, transport_for
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Verdict
from tests.operations.support import a_letter, original
from tests.operations.test_cost import cpu_seconds, nothing_else_collected, of_1500_bytes
from tools.kafka.cluster import Cluster

pytestmark = pytest.mark.cpu

RATIO = 5.0
"""A guard. Three is wanted; a busy machine shows up to four, for reading is C, and the rest is Python."""

PARTITIONS = 4


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_letters_are_listed_in_groups_in_a_few_times_what_reading_them_takes(
    kafka: Cluster, unique: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this thread's CPU time, without that of connecting, which an empty topic takes as well."""
    # However busy the machine is, all of them are to be looked at.
    monkeypatch.setattr(scanning, "FOR_LISTINGS", replace(scanning.FOR_LISTINGS, seconds=600.0))
    none, many = parts_of(kafka, f"{unique}-none"), parts_of(kafka, f"{unique}-many")
    await bury(none, 0)
    await bury(many, count)
    with nothing_else_collected():
        rounds = [
            (
                await cpu_seconds(lambda: read(many, count)) - await cpu_seconds(lambda: read(none, 0)),
                await cpu_seconds(lambda: list_all(many, count))
                - await cpu_seconds(lambda: list_all(none, 0)),
            )
            for _ in range(5)
        ]
    raw, listed = (min(seconds) for seconds in zip(*rounds, strict=True))
    print(f"{count} letters: read in {raw:.2f} s, listed in {listed / raw:.2f} times that")  # noqa: T201
    assert listed <= RATIO * raw


def parts_of(kafka: Cluster, prefix: str) -> Parts:
    settings, clock = MessagingSettings(bootstrap_servers=kafka.bootstrap, topic_prefix=prefix), SystemClock()
    return parts_for(settings, transport_for(settings, clock), clock)


async def list_all(parts: Parts, count: int) -> None:
    page = await Operations(parts).dead_letters(limit=0)
    assert (page.matched, len(page.groups)) == (count, min(count, 1))


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


async def read(parts: Parts, expected: int) -> None:
    reader = parts.transport.log_reader()
    count = 0
    async with aclosing(reader.read(await reader.ranges(parts.naming.dead_letters))) as lists:
        async for records in lists:
            count += len(records)
    assert count == expected
