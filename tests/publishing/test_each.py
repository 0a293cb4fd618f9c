"""Records with an outcome each: of one partition, none is acknowledged after one that failed before it."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import MessageTooLarge, PublishFailed, PublishUnknown
from convex_messaging_fastapi.publishing import Partitioner, Publisher, PublishLimits
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.transport.base import Verdict
from tests.publishing.fakes import FakeProducer, listed, record, until


async def test_each_has_its_receipt_in_the_order_given(publisher: Publisher, producer: FakeProducer) -> None:
    outcomes = await publisher.publish_each("t", listed([record(n) for n in range(3)]), 10)
    assert [type(each) for each in outcomes] == [Receipt] * 3
    assert producer.values("t") == [b"0", b"1", b"2"]


async def test_nothing_is_nothing(publisher: Publisher) -> None:
    assert await publisher.publish_each("t", listed([]), 10) == []


async def test_a_list_of_thousands_is_accepted_in_one_turn(
    publisher: Publisher, producer: FakeProducer
) -> None:
    call = asyncio.create_task(publisher.publish_each("t", listed([record(n) for n in range(2_500)]), 10))
    await asyncio.sleep(0)
    assert publisher.status().pending == 2_500
    await call
    assert producer.values("t") == [str(n).encode() for n in range(2_500)]


async def test_after_a_refusal_nothing_later_of_its_partition_is_sent(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.fits = 2
    producer.script.extend([Verdict.WRITTEN, Verdict.REFUSED])
    outcomes = await publisher.publish_each("t", listed([record(n) for n in range(8)]), 10)
    assert producer.values("t") == [b"0", b"1"]
    assert [type(each) for each in outcomes] == [Receipt] * 2 + [PublishFailed] * 6
    assert "refused one before it" in str(outcomes[-1])


async def test_a_refusal_of_one_partition_leaves_the_others_alone(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.fits = 1
    producer.script.append(Verdict.REFUSED)
    records = [record(0, b"a"), record(1, b"a"), record(2, b"z"), record(3, b"z")]
    partition = Partitioner().partition
    assert partition(b"a", 4) != partition(b"z", 4)
    outcomes = await publisher.publish_each("t", listed(records), 10)
    assert [isinstance(each, Receipt) for each in outcomes] == [False, False, True, True]


async def test_other_calls_go_on_after_a_refusal(publisher: Publisher, producer: FakeProducer) -> None:
    producer.gate.clear()
    producer.fits = 1
    producer.script.append(Verdict.REFUSED)
    strict = asyncio.create_task(publisher.publish_each("t", listed([record(0), record(1)]), 10))
    await until(producer.entered.is_set)
    plain = asyncio.create_task(publisher.publish_many("t", listed([record(2), record(3)]), 10))
    await until(lambda: publisher.status().pending == 4)
    producer.gate.set()
    assert all(isinstance(each, PublishFailed) for each in await strict)
    assert len(await plain) == 2
    assert producer.values("t") == [b"2", b"3"]


async def test_one_that_is_too_large_lets_the_others_go_on(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.fits = 1
    producer.script.extend([Verdict.WRITTEN, Verdict.TOO_LARGE])
    outcomes = await publisher.publish_each("t", listed([record(n) for n in range(3)]), 10)
    assert [type(each) for each in outcomes] == [Receipt, MessageTooLarge, Receipt]
    assert producer.values("t") == [b"0", b"2"]


async def test_one_that_is_over_our_own_limit_lets_the_others_go_on(
    producer: FakeProducer, clock: ManualClock
) -> None:
    publisher = Publisher(producer, clock, Partitioner(), PublishLimits(1_000, 100_000))
    await publisher.start()
    outcomes = await publisher.publish_each("t", listed([record(0), record("x" * 2_000), record(2)]), 10)
    assert [type(each) for each in outcomes] == [Receipt, MessageTooLarge, Receipt]


async def test_one_that_is_too_large_and_may_be_written_stops_the_others(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.fits = 1
    producer.script.extend([Verdict.UNKNOWN, Verdict.TOO_LARGE])
    call = asyncio.create_task(publisher.publish_each("t", listed([record(0), record(1)]), 10))
    await until(lambda: clock.next_due() is not None and not producer.sending and producer.offers)
    while not call.done():
        clock.advance(0.5)
        await asyncio.sleep(0)
    assert [type(each) for each in await call] == [PublishUnknown, PublishFailed]
    assert producer.values("t") == []


async def test_what_is_late_is_late_together(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.fits = 1
    producer.gate.clear()
    call = asyncio.create_task(publisher.publish_each("t", listed([record(0), record(1)]), 2))
    await until(producer.entered.is_set)
    clock.advance(2.5)
    outcomes = await call
    assert [type(each) for each in outcomes] == [PublishUnknown] * 2
    producer.gate.set()
    await until(lambda: not producer.sending)
    assert producer.values("t") == [b"0"]


async def test_a_topic_that_is_missing_is_missing_for_all(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.partitions = None
    outcomes = await publisher.publish_each("t", listed([record(n) for n in range(2_500)]), 10)
    assert {type(each) for each in outcomes} == {PublishFailed}
    assert producer.counted == 1


async def test_where_there_is_no_room_for_all_none_is_sent(
    producer: FakeProducer, clock: ManualClock
) -> None:
    publisher = Publisher(producer, clock, Partitioner(), PublishLimits(1_000, 1_000))
    await publisher.start()
    outcomes = await publisher.publish_each("t", listed([record("x" * 600), record("x" * 600)]), 10)
    assert {type(each) for each in outcomes} == {PublishFailed}
    assert producer.values("t") == []
    assert publisher.status().pending == 0
