"""A producer of Kafka's under a loop that runs tasks before whoever makes them goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import MessageTooLarge, PublishError
from convex_messaging_fastapi.publishing import Partitioner, Publisher, PublishLimits
from tests.publishing.fakes import listed, record
from tests.support.eager import FACTORIES
from tests.support.waiting import eventually
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import SECONDS, Bench

CORRUPT, MESSAGE_TOO_LARGE = 2, 10


@pytest.fixture(params=FACTORIES)
async def publisher(request: pytest.FixtureRequest, wire: WireCluster) -> AsyncIterator[Publisher]:
    asyncio.get_running_loop().set_task_factory(FACTORIES[request.param])
    producer = Bench(wire.bootstrap_servers).transport().producer()
    publisher = Publisher(producer, SystemClock(), Partitioner(), PublishLimits(message_bytes=200_000))
    await publisher.start()
    yield publisher
    await publisher.stop(2)
    asyncio.get_running_loop().set_task_factory(None)


async def test_messages_are_written_after_each_refusal_failure_and_outage(
    publisher: Publisher, wire: WireCluster
) -> None:
    offsets = [(await publisher.publish("orders", record(1), SECONDS, 0)).offset]
    with pytest.raises(MessageTooLarge):
        await publisher.publish("orders", record("x" * 200_001), SECONDS, 0)
    offsets.append((await publisher.publish("orders", record(2), SECONDS, 0)).offset)
    wire.push_errors(Api.PRODUCE, MESSAGE_TOO_LARGE)
    for _ in range(3):
        with pytest.raises(MessageTooLarge):
            await publisher.publish("orders", record("x" * 100_000), SECONDS, 0)
    wire.push_errors(Api.PRODUCE, CORRUPT)
    offsets.append((await publisher.publish("orders", record(3), SECONDS, 0)).offset)
    assert len(await publisher.publish_many("orders", listed([record(n) for n in range(50)]), SECONDS)) == 50
    wire.down()
    publishing = asyncio.create_task(publisher.publish("orders", record(4), SECONDS, 0))
    await eventually(lambda: publisher.status().contact.problem is not None, SECONDS, "a word of the outage")
    wire.up()
    offsets.append((await publishing).offset)
    assert offsets == sorted(offsets)
    with pytest.raises(PublishError, match="no such topic"):
        await publisher.publish("missing", record(1), SECONDS)
    assert publisher.status().pending == 0
