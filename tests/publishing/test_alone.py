"""A message that is the only one waits for no company; whoever comes after it goes behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import PublishUnknown
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from convex_messaging_fastapi.transport.base import Verdict
from tests.publishing.fakes import FakeProducer, record, until


@pytest.fixture
async def producer() -> FakeProducer:
    producer = FakeProducer()
    producer.at_once = True
    return producer


@pytest.fixture
async def publisher(producer: FakeProducer, clock: ManualClock) -> AsyncIterator[Publisher]:
    """It knows its topic already, so that nothing but the message decides how it goes."""
    publisher = Publisher(producer, clock, Partitioner())
    await publisher.start()
    await publisher.publish("t", record("warm"), 10)
    producer.offers.clear()
    producer.alone = 0
    yield publisher
    await publisher.stop(0)


async def test_a_sequential_publisher_sends_each_message_at_once(
    publisher: Publisher, producer: FakeProducer
) -> None:
    for number in range(5):
        await publisher.publish("t", record(number), 10)
    assert producer.alone == 5


async def test_of_a_crowd_only_the_first_goes_alone(publisher: Publisher, producer: FakeProducer) -> None:
    await asyncio.gather(*(publisher.publish("t", record(number), 10) for number in range(50)))
    assert [offered for _, offered in producer.offers] == [1, 49]
    assert producer.values("t") == [b"warm", *(str(number).encode() for number in range(50))]


async def test_whoever_comes_meanwhile_goes_behind_it_also_when_it_fails(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()
    producer.script.append(Verdict.FAILED)
    first = asyncio.create_task(publisher.publish("t", record("first"), 10))
    await until(lambda: producer.alone)
    second = asyncio.create_task(publisher.publish("t", record("second"), 10))
    await until(lambda: publisher.status().pending == 2)
    producer.gate.set()
    await until(lambda: (clock.next_due() or 9) < 1)
    assert producer.values("t") == [b"warm"]
    clock.advance(1)
    await asyncio.gather(first, second)
    assert producer.values("t") == [b"warm", b"first", b"second"]


async def test_a_stop_while_it_is_under_way_says_that_nobody_knows_and_leaves_nothing_behind(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()
    publishing = asyncio.create_task(publisher.publish("t", record(1), 10))
    await until(lambda: producer.sending)
    await publisher.stop(0)
    with pytest.raises(PublishUnknown):
        await publishing
    producer.script.append(Verdict.FAILED)
    producer.gate.set()
    await until(lambda: not producer.sending)
    assert clock.next_due() is None
