"""The records of one call: refused at once or not at all, the same at every look, light while they wait."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from pydantic import BaseModel

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from convex_messaging_fastapi.publishing.outgoing import outgoing, outgoing_many
from convex_messaging_fastapi.publishing.pending import Pending
from convex_messaging_fastapi.records import OutgoingRecords, header_text
from convex_messaging_fastapi.transport.base import Verdict
from tests.publishing.fakes import FakeProducer, until

NOW = 1_767_225_600.0


class BetPlaced(BaseModel):
    bet: int


class BetVoided(BaseModel):
    bet: int


async def many(count: int) -> OutgoingRecords:
    return await outgoing_many([BetPlaced(bet=n) for n in range(count)], None, None, None, NOW)


async def test_each_record_has_an_id_of_its_own_and_keeps_it_when_it_is_sent_again() -> None:
    records = await many(3)

    first = [records[n] for n in range(3)]

    assert [records[n] for n in range(3)] == first
    assert len({header_text(record.headers, "message-id") for record in first}) == 3


async def test_a_list_may_hold_messages_of_several_types() -> None:
    messages: list[BetPlaced | BetVoided] = [BetPlaced(bet=1), BetVoided(bet=2)]
    records = await outgoing_many(messages, lambda message: f"bet-{message.bet}", None, "c-1", NOW)

    assert [header_text(records[n].headers, "message-type") for n in range(2)] == ["BetPlaced", "BetVoided"]
    assert [header_text(records[n].headers, "correlation-id") for n in range(2)] == ["c-1", "c-1"]
    assert [(records[n].key, records[n].value) for n in range(2)] == [
        (b"bet-1", b'{"bet":1}'),
        (b"bet-2", b'{"bet":2}'),
    ]


@pytest.mark.parametrize(
    "one", [BetPlaced(bet=1), {"bet": 1}, "bet", b"bet", 1], ids=lambda one: type(one).__name__
)
async def test_one_message_is_no_list_of_its_parts(one: Any) -> None:
    with pytest.raises(EncodeError, match=rf"several .* not one {type(one).__name__}: write publish\("):
        await outgoing_many(one, None, None, None, NOW)


async def test_of_raw_bytes_the_caller_may_say_what_they_are() -> None:
    theirs = {"content-type": "application/vnd.confluent.avro", "message-type": "Order"}
    one = outgoing(b"raw", None, theirs, None, NOW)
    many_of_them = await outgoing_many([b"raw", b"more"], None, theirs, None, NOW)
    unsaid = outgoing(b"raw", None, None, None, NOW)

    for record in (one, *(many_of_them[n] for n in range(2))):
        assert header_text(record.headers, "content-type") == "application/vnd.confluent.avro"
        assert header_text(record.headers, "message-type") == "Order"
    assert header_text(unsaid.headers, "content-type") == "application/octet-stream"
    assert header_text(unsaid.headers, "message-type") is None
    with pytest.raises(EncodeError, match=r"content-type|message-type"):
        await outgoing_many([b"raw", BetPlaced(bet=1)], None, theirs, None, NOW)


async def test_a_header_that_cannot_be_written_is_refused_at_once() -> None:
    with pytest.raises(EncodeError, match="'content-type' describes what is on the wire"):
        await outgoing_many([BetPlaced(bet=1)], None, {"content-type": "text/plain"}, None, NOW)


async def test_a_long_list_does_not_hold_up_the_loop() -> None:
    encoding = asyncio.create_task(many(10_000))
    turns = 0
    while not encoding.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns >= 10


async def test_while_many_messages_wait_the_garbage_collector_has_no_object_of_each() -> None:
    producer = FakeProducer()
    producer.counting.clear()
    publisher = Publisher(producer, ManualClock(), Partitioner("murmur2"))
    await publisher.start()
    await many(1)
    gc.collect()
    before = len(gc.get_objects())

    publishing = asyncio.create_task(publisher.publish_many("t", await many(10_000), 10))
    await until(lambda: publisher.status().pending == 10_000)
    waiting = len(gc.get_objects()) - before
    producer.counting.set()
    await publishing
    await publisher.stop(0)

    assert waiting < 500


async def test_of_messages_that_are_acknowledged_nothing_stays_while_the_others_wait() -> None:
    producer, clock = FakeProducer(fits=99), ManualClock()
    producer.script.extend([Verdict.WRITTEN, Verdict.FAILED])
    publisher = Publisher(producer, clock, Partitioner("murmur2"))
    await publisher.start()

    publishing = asyncio.create_task(publisher.publish_many("t", await many(100), 10))
    await until(lambda: len(producer.offers) == 2 and not producer.sending)
    gc.collect()
    waiting = [each for each in gc.get_objects() if isinstance(each, Pending)]
    await until(lambda: clock.next_due() is not None)
    clock.advance(1)
    await publishing
    await publisher.stop(0)

    assert len(waiting) == 1
