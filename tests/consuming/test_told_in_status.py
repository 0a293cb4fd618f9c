"""The status says what holds up others: a buffer that one partition fills, and threads that are stuck."""

from __future__ import annotations

import threading

import pytest

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.snapshots import worker_status
from convex_messaging_fastapi.plugin.details import details_of
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.status import BusStatus, Phase, ThreadsStatus
from convex_messaging_fastapi.verdicts import ready
from tests.bus.support import memory_bus
from tests.consuming.support import TOPIC, WHERE, Bench
from tests.consuming.test_worker import MIB, fails
from tests.support.waiting import eventually

OTHER = TopicPartition(TOPIC, 1)


@pytest.mark.parametrize(
    ("fed", "is_full", "full_by"),
    [
        ({WHERE: 74}, False, None),
        ({WHERE: 200}, True, WHERE),
        ({OTHER: 200}, True, OTHER),
        ({WHERE: 30, OTHER: 200}, True, OTHER),
    ],
)
async def test_a_full_worker_says_so_and_names_the_partition(
    fed: dict[TopicPartition, int], is_full: bool, full_by: TopicPartition | None
) -> None:
    limits = Limits(max_uncommitted=1000, max_buffer_records=100, max_buffer_bytes=64 * MIB)
    async with Bench(fails, limits=limits) as bench:
        bench.transport.assign(WHERE, OTHER, TopicPartition(TOPIC, 2))
        for where, count in fed.items():
            bench.transport.feed(*range(count), where=where)
        await bench.advance(2)
        status = worker_status(bench.worker, bench.clock)
        assert (status.is_full, status.full_by) == (is_full, full_by)


@pytest.fixture
def bus() -> MessageBus:
    return memory_bus(concurrency=4, drain_timeout_seconds=0.2, shutdown_timeout_seconds=1)


async def test_threads_that_are_stuck_are_a_reason_once_they_hold_up_another_handler(bus: MessageBus) -> None:
    may_end = threading.Event()
    others: list[int] = []

    @bus.subscriber("stuck", timeout=0.05)
    def hangs(message: int) -> None:
        may_end.wait(60)

    @bus.subscriber("other", group="another")
    def other(message: int) -> None:
        others.append(message)

    async with bus:
        for n in range(4):
            await bus.publish("stuck", n, key=str(n))
        await eventually(lambda: all_stuck(bus), 10, "all threads to be stuck")
        await bus.publish("other", 1)
        await eventually(lambda: "threads_stuck" in ready(bus.status()).reasons, 10, "it to be told")
        assert ready(bus.status()).ok
        assert others == []
        may_end.set()
        await eventually(lambda: others == [1], 10, "the other handler")
        await eventually(lambda: "threads_stuck" not in ready(bus.status()).reasons, 10, "it to be over")


def all_stuck(bus: MessageBus) -> bool:
    threads = bus.status().threads
    return threads is not None and threads.stuck == 4


async def test_details_name_the_partition_and_count_what_was_passed_over_and_the_threads() -> None:
    limits = Limits(max_uncommitted=1000, max_buffer_records=100, max_buffer_bytes=64 * MIB)
    async with Bench(fails, limits=limits) as bench:
        bench.transport.assign(WHERE, OTHER)
        bench.transport.feed(*range(200))
        await bench.advance(2)
        status = BusStatus(
            Phase.RUNNING, None, (worker_status(bench.worker, bench.clock),), (), ThreadsStatus(4, 3, 2, 1)
        )
        details = details_of(status)
        (consumer,) = details["consumers"]
        assert (consumer["full"], consumer["full_by"]) == (True, {"topic": TOPIC, "partition": 0})
        assert consumer["passed_over"] == 0
        assert details["threads"] == {"limit": 4, "running": 3, "waiting": 2, "stuck": 1}
