"""On a real Kafka a list of dead letters takes a few times what reading them takes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import pytest

from convex_messaging_fastapi import MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.operations import Operations, scanning
from convex_messaging_fastapi.parts import Parts, parts_for, transport_for
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Verdict
from tests.operations.support import a_letter, original
from tests.operations.test_cost import (
    BLOCK_SECONDS,
    BLOCK_SECONDS_OF_LARGE,
    LARGE_MEMORY,
    MIB,
    nothing_else_collected,
    of_5_megabytes,
    of_1500_bytes,
)
from tools.kafka.cluster import Cluster

pytestmark = [pytest.mark.cpu, pytest.mark.timeout(900)]

RATIO = 3.0
MEMORY = 150 * MIB

PARTITIONS = 4


ROUNDS = 5


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_letters_are_listed_in_groups_in_three_times_what_reading_them_takes(
    kafka: Cluster, unique: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock on the wall, connections and all: what an operator waits for.

    In this thread's CPU time it is 2.1 to 3.2 times, as busy as the machine is: to read is hardly Python.
    """
    # However busy the machine is, all of them are to be looked at.
    monkeypatch.setattr(scanning, "FOR_LISTINGS", replace(scanning.FOR_LISTINGS, seconds=600.0))
    parts = parts_of(kafka, unique)
    await bury(parts, count, of_1500_bytes())
    with nothing_else_collected():
        rounds = [
            (await taken(lambda: read(parts, count)), await taken(lambda: list_all(parts, count)))
            for _ in range(ROUNDS)
        ]
    wall = median(listed.wall / raw.wall for raw, listed in rounds)
    cpu = median(listed.cpu / raw.cpu for raw, listed in rounds)
    print(  # noqa: T201
        f"{count} letters: read in {median(raw.wall for raw, _ in rounds):.2f} s, "
        f"listed in {wall:.2f} times that, and {cpu:.2f} times the CPU time of this thread"
    )
    assert wall <= RATIO


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_a_process_that_lists_letters_stays_small_and_serves_others(
    kafka: Cluster, unique: str, count: int
) -> None:
    await bury(parts_of(kafka, unique), count, of_1500_bytes())
    alone = await listed_alone(kafka, unique, count)
    assert alone.highest <= MEMORY
    assert alone.block <= BLOCK_SECONDS


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
async def test_letters_of_five_megabytes_block_the_loop_shortly_and_take_little_memory(
    kafka: Cluster, unique: str, count: int
) -> None:
    await bury(parts_of(kafka, unique), count, of_5_megabytes())
    alone = await listed_alone(kafka, unique, count)
    assert alone.highest - alone.before <= LARGE_MEMORY
    assert alone.block <= BLOCK_SECONDS_OF_LARGE


class Alone(NamedTuple):
    """A process that lists: its memory in bytes, and the longest that it held up its loop, in seconds."""

    before: int
    highest: int
    block: float


async def listed_alone(kafka: Cluster, prefix: str, count: int) -> Alone:
    command = [sys.executable, "-m", "tests.operations.listing_alone", kafka.bootstrap, prefix]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert set(told.pop("matched")) == {count}
    alone = Alone(**told)
    print(  # noqa: T201
        f"{count} letters: {alone.before / MIB:.0f} MiB before and {alone.highest / MIB:.0f} at most, "
        f"the loop held up for {alone.block * 1000:.1f} ms at most"
    )
    return alone


class Taken(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


async def taken(call: Callable[[], Awaitable[object]]) -> Taken:
    wall, cpu = time.perf_counter(), time.thread_time()
    await call()
    return Taken(time.perf_counter() - wall, time.thread_time() - cpu)


def parts_of(kafka: Cluster, prefix: str) -> Parts:
    settings, clock = MessagingSettings(bootstrap_servers=kafka.bootstrap, topic_prefix=prefix), SystemClock()
    return parts_for(settings, transport_for(settings, clock), clock)


async def list_all(parts: Parts, count: int) -> None:
    page = await Operations(parts).dead_letters()
    assert (page.matched, len(page.groups), len(page.letters), page.truncated) == (count, 1, 200, "")


async def bury(parts: Parts, count: int, value: bytes) -> None:
    """So many letters about different messages of this value."""
    topic = parts.naming.dead_letters
    large = {"max.message.bytes": str(16 * MIB)}
    await parts.admin.ensure_topic(NewTopic(topic, PARTITIONS, config=large))
    letter = a_letter(original(value=value))
    at_once = max(1, min(500, MIB // len(letter.value or b"")))
    others = [header for header in letter.headers if header[0] != "message-id"]
    producer = parts.transport.producer()
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            numbers = range(partition, count, PARTITIONS)
            ids = [("message-id", str(uuid.UUID(int=number)).encode()) for number in numbers]
            left = [letter._replace(headers=(id, *others)) for id in ids]
            while left:
                sent = await producer.send(TopicPartition(topic, partition), left[:at_once])
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
