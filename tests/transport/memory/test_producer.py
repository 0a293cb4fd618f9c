"""Sends are bounded by size, wait through an outage, and fail when told to."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Problem, Verdict
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport
from tests.transport.memory.bench import started, turns, write

WHERE = TopicPartition("orders", 0)
MIB = 1024 * 1024


async def test_a_topic_comes_into_being_with_four_partitions(transport: MemoryTransport) -> None:
    assert await (await started(transport)).partition_count("orders") == 4


async def test_a_broker_may_give_another_number(clock: ManualClock) -> None:
    producer = await started(MemoryTransport(MemoryBroker(clock, default_partitions=7)))
    assert await producer.partition_count("orders") == 7


@pytest.mark.parametrize(("spare", "verdict"), [(0, Verdict.WRITTEN), (-1, Verdict.TOO_LARGE)])
async def test_key_value_and_headers_together_are_one_mebibyte_at_most(
    transport: MemoryTransport, spare: int, verdict: Verdict
) -> None:
    value = b"x" * (MIB - len("key" + "name" + "header") - spare)
    producer = await started(transport)
    sent = await producer.send(WHERE, [OutgoingRecord(b"key", value, (("name", b"header"), ("", None)))])
    assert sent.verdict is verdict
    if verdict is Verdict.TOO_LARGE:
        assert (
            sent.reason == "1048577 bytes with key and headers are more than its max.message.bytes of 1048576"
        )


async def test_records_are_stamped_with_the_clock(
    transport: MemoryTransport, clock: ManualClock, broker: MemoryBroker
) -> None:
    await write(transport, "orders", 0, b"first")
    clock.advance(1.5)
    await write(transport, "orders", 0, b"second")
    first, second = broker.records("orders")
    assert second.timestamp_ms - first.timestamp_ms == 1500


async def test_a_send_waits_through_an_outage(transport: MemoryTransport, broker: MemoryBroker) -> None:
    producer = await started(transport)
    broker.down()
    sending = asyncio.create_task(producer.send(WHERE, [OutgoingRecord(None, b"x")]))
    asking = asyncio.create_task(producer.partition_count("orders"))
    await turns()
    assert not sending.done()
    assert not asking.done()
    await asyncio.to_thread(broker.up)
    assert (await sending).verdict is Verdict.WRITTEN
    assert await asking == 4


async def test_a_stop_ends_what_waits_for_a_broker_that_is_down(
    transport: MemoryTransport, broker: MemoryBroker
) -> None:
    producer = await started(transport)
    broker.down()
    sending = asyncio.create_task(producer.send(WHERE, [OutgoingRecord(None, b"x")]))
    asking = asyncio.create_task(producer.partition_count("orders"))
    await turns()
    await producer.stop(deadline=0)
    assert (await sending).verdict is Verdict.FAILED
    with pytest.raises(TopicUnavailable, match="the producer was stopped"):
        await asking
    assert broker.records("orders") == []


async def test_a_refused_topic_fails_so_many_sends_and_writes_nothing(
    transport: MemoryTransport, broker: MemoryBroker
) -> None:
    broker.refuse("orders", 2)
    assert [(await write(transport, "orders", 0, b"x")).verdict for _ in range(3)] == [
        Verdict.FAILED,
        Verdict.FAILED,
        Verdict.WRITTEN,
    ]
    assert (await write(transport, "payments", 0, b"x")).verdict is Verdict.WRITTEN
    assert len(broker.records("orders")) == 1


async def test_contact_goes_stale_while_the_broker_is_down(
    transport: MemoryTransport, broker: MemoryBroker, clock: ManualClock
) -> None:
    producer = await started(transport)
    clock.advance(5)
    assert (producer.contact().last, producer.contact().problem) == (5, None)
    broker.down()
    clock.advance(5)
    assert (producer.contact().last, producer.contact().problem) == (5, Problem.BROKER_UNREACHABLE)
    broker.up()
    assert (producer.contact().last, producer.contact().problem) == (10, None)


async def test_a_topic_may_be_made_with_a_limit_of_its_own(transport: MemoryTransport) -> None:
    await transport.admin().ensure_topic(NewTopic("orders", 1, config={"max.message.bytes": "10"}))
    assert (await write(transport, "orders", 0, b"x" * 10)).verdict is Verdict.WRITTEN
    assert (await write(transport, "orders", 0, b"x" * 11)).verdict is Verdict.TOO_LARGE
    assert (await write(transport, "orders", 1, b"x")).verdict is Verdict.REFUSED


async def test_what_kafka_takes_no_name_for_is_refused(transport: MemoryTransport) -> None:
    producer = await started(transport)
    with pytest.raises(TopicUnavailable, match="no such name"):
        await producer.partition_count("no spaces")


async def test_no_topic_is_made_while_the_broker_is_down(
    transport: MemoryTransport, broker: MemoryBroker
) -> None:
    broker.down()
    with pytest.raises(TopicUnavailable, match="the memory broker is down"):
        await transport.admin().ensure_topic(NewTopic("orders"))
