"""The publisher on the memory transport: what it claims is what the log holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import MessageTooLarge, PublishFailed, PublishUnknown
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.transport.memory.broker import MemoryBroker
from convex_messaging_fastapi.transport.memory.transport import MemoryTransport
from tests.publishing.fakes import record, until


@pytest.fixture
def broker(clock: ManualClock) -> MemoryBroker:
    return MemoryBroker(clock)


@pytest.fixture
async def publisher(broker: MemoryBroker, clock: ManualClock) -> AsyncIterator[Publisher]:
    publisher = Publisher(MemoryTransport(broker).producer(), clock, Partitioner())
    await publisher.start()
    yield publisher
    await publisher.stop(0)


async def test_receipts_point_at_what_was_written_and_keys_keep_their_order(
    publisher: Publisher, broker: MemoryBroker
) -> None:
    records = [record(n, key=str(n % 9).encode()) for n in range(500)]
    receipts = await asyncio.gather(*(publisher.publish("t", each, 10) for each in records))
    written = {(each.partition, each.offset): each.value for each in broker.records("t")}
    assert [written[at.partition, at.offset] for at in receipts] == [each.value for each in records]
    for key in {each.key for each in records}:
        in_log = [each.value for each in broker.records("t") if each.key == key]
        assert in_log == [each.value for each in records if each.key == key]


async def test_an_outage_is_waited_through(publisher: Publisher, broker: MemoryBroker) -> None:
    await publisher.publish("t", record("before"), 10)
    broker.down()
    tasks = [asyncio.create_task(publisher.publish("t", record(n), 10)) for n in range(3)]
    await until(lambda: publisher.status().pending == 3)
    broker.up()
    await asyncio.gather(*tasks)
    assert [each.value for each in broker.records("t")] == [b"before", b"0", b"1", b"2"]


async def test_an_outage_longer_than_the_deadline_fails_what_was_not_sent(
    publisher: Publisher, broker: MemoryBroker, clock: ManualClock
) -> None:
    await publisher.publish("t", record("before"), 10, partition=0)
    broker.down()
    sent = asyncio.create_task(publisher.publish("t", record("sent"), 3, partition=0))
    await until(lambda: publisher.status().contact.problem == "broker_unreachable")
    await until(lambda: publisher.status().pending == 1)
    new = asyncio.create_task(publisher.publish("new", record("x"), 3))
    await until(lambda: publisher.status().pending == 2)
    clock.advance(3.1)
    with pytest.raises(PublishUnknown, match="broker_unreachable"):
        await sent
    with pytest.raises(PublishFailed, match="broker_unreachable"):
        await new


async def test_a_message_that_is_too_large_fails_alone(publisher: Publisher) -> None:
    values = ["a", "x" * 3_000_000, "b"]
    first, large, last = await asyncio.gather(
        *(publisher.publish("t", record(value), 10, partition=0) for value in values), return_exceptions=True
    )
    assert isinstance(large, MessageTooLarge)
    assert "xxx" not in str(large)
    assert isinstance(first, Receipt)
    assert isinstance(last, Receipt)


async def test_a_send_that_the_broker_fails_is_repeated(
    publisher: Publisher, broker: MemoryBroker, clock: ManualClock
) -> None:
    await publisher.publish("t", record("a"), 10)
    broker.refuse("t", 1)
    task = asyncio.create_task(publisher.publish("t", record("b"), 10))
    await until(lambda: (clock.next_due() or 10) < 1)
    clock.advance(1)
    await task
    assert [each.value for each in broker.records("t")] == [b"a", b"b"]
