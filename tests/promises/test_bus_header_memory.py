"""Headers count as buffered bytes: on a real Kafka, records of some thousand headers each fill no memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from convex_messaging_fastapi import MessageBus, MessagingSettings
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster

MIB = 1024 * 1024
RECORDS, HEADERS = 1_000, 20_000
BUFFER_BYTES, MORE_BYTES = 64 * MIB, 64 * MIB


async def test_a_thousand_records_of_twenty_thousand_headers_take_no_more_than_the_buffer(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    """They are less than 100 kB in the log, and each would be 1.4 MiB in memory."""
    topic = f"{unique}.small"
    await asyncio.to_thread(kafka.create_topic, topic, 1)
    headers: list[tuple[str, str | bytes | None]] = [("a", b"")] * HEADERS
    compressed: dict[str, object] = {"compression.type": "zstd"}
    await asyncio.to_thread(independent.write, topic, [b"1"] * RECORDS, headers=headers, settings=compressed)
    settings = MessagingSettings(
        bootstrap_servers=kafka.bootstrap,
        topic_prefix=unique,
        consumer_group=unique,
        concurrency=1,
        max_buffer_bytes=BUFFER_BYTES,
    )
    bus, gate, handled = MessageBus(settings), asyncio.Event(), list[int]()

    @bus.subscriber("small")
    async def handle(number: int) -> None:
        await gate.wait()
        handled.append(number)

    before = resident_bytes()
    async with bus:
        await eventually(lambda: bus.status().workers[0].buffered_records == RECORDS, 60, "all of them")
        assert bus.status().workers[0].buffered_bytes <= BUFFER_BYTES
        assert resident_bytes() - before < BUFFER_BYTES + MORE_BYTES
        gate.set()
        await eventually(lambda: len(handled) == RECORDS, 60, "their handling")


def resident_bytes() -> int:
    """What this process has in memory now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
