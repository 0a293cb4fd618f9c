"""A client that is given up amid its first steps keeps no connection, wherever it was."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Position
from convex_messaging_fastapi.transport.kafka.transport import KafkaTransport
from tests.support.leftovers import going
from tests.support.waiting import eventually
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench

ANSWERS_MS = 40


class Nobody:
    """Implements `AssignmentListener`."""

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None: ...

    async def revoked(self, epoch: int, deadline: float) -> None: ...


End = Callable[[], Awaitable[None]]


async def a_producer(transport: KafkaTransport) -> End:
    producer = transport.producer()
    await producer.start()
    return lambda: producer.stop(SystemClock().now() + 5)


async def a_consumer(transport: KafkaTransport) -> End:
    consumer = transport.consumer("g")
    await consumer.start(["orders"], Nobody())
    return lambda: consumer.stop(SystemClock().now() + 5)


async def a_question(transport: KafkaTransport) -> End:
    asking = asyncio.create_task(transport.admin().ensure_topic(NewTopic("orders")))

    async def end() -> None:
        asking.cancel()
        await asyncio.wait([asking])

    return end


@pytest.mark.parametrize("begin", [a_producer, a_consumer, a_question])
@pytest.mark.parametrize("questions", [1, 2, 3])
async def test_whoever_stops_amid_a_start_leaves_no_connection(
    bench: Bench, wire: WireCluster, begin: Callable[[KafkaTransport], Awaitable[End]], questions: int
) -> None:
    """Of the first questions for metadata one is the probe's, and the others are the engine's."""
    wire.round_trip(ANSWERS_MS)
    wire.track_requests()
    before = going()
    end = await begin(bench.transport())
    await eventually(lambda: wire.requests().count(Api.METADATA) >= questions, 10, "its questions")
    await end()
    gc.disable()  # it would close what was only forgotten
    try:
        # The simulated cluster lives in this process, too, and closes its ends in a thread of its own.
        await eventually(lambda: going().since(before) == "", 5, "an end of all connections")
    finally:
        gc.enable()
