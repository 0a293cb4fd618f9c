"""One record begun without a turn of the loop: the same verdicts as `send`, or not begun at all."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Sent, Verdict
from convex_messaging_fastapi.transport.kafka.producer.producer import KafkaProducer
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import SECONDS, Bench, records

WHERE = TopicPartition("orders", 0)


async def answer(producer: KafkaProducer, value: bytes) -> Sent:
    told: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
    assert producer.send_now(WHERE, OutgoingRecord(None, value), told.set_result)
    return await asyncio.wait_for(told, SECONDS)


def refuses(producer: KafkaProducer, where: TopicPartition = WHERE, value: bytes = b"x") -> bool:
    def never(sent: Sent) -> None:
        raise AssertionError("nothing was begun")

    return not producer.send_now(where, OutgoingRecord(None, value), never)


async def test_it_lands_behind_what_was_sent_before(bench: Bench) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"a", b"b"))
    sent = await answer(producer, b"c")
    assert (sent.taken, sent.verdict, sent.base_offset) == (1, Verdict.WRITTEN, 2)
    assert sent.timestamp_ms > 0
    reader = await bench.reader()
    assert await reader.read(3) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(2, Verdict.FAILED), (45, Verdict.UNKNOWN)],
)
async def test_after_a_failure_a_fresh_producer_takes_the_next(
    bench: Bench, wire: WireCluster, code: int, verdict: Verdict
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    wire.push_errors(Api.PRODUCE, code)
    assert (await answer(producer, b"bad")).verdict is verdict
    assert (await producer.send(WHERE, records(b"good"))).verdict is Verdict.WRITTEN
    assert producer.contact().rebuilds == 1


@pytest.mark.parametrize(("code", "verdict"), [(10, Verdict.TOO_LARGE), (29, Verdict.REFUSED)])
async def test_after_a_refusal_the_same_producer_takes_the_next(
    bench: Bench, wire: WireCluster, code: int, verdict: Verdict
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    wire.push_errors(Api.PRODUCE, code)
    assert (await answer(producer, b"bad" * 9)).verdict is verdict
    assert (await producer.send(WHERE, records(b"good"))).verdict is Verdict.WRITTEN
    assert producer.contact().rebuilds == 0


async def test_nothing_is_begun_before_the_engine_runs_nor_after_its_end(bench: Bench) -> None:
    producer = await bench.producer()
    assert refuses(producer)
    await producer.send(WHERE, records(b"warm"))
    await producer.stop(bench.clock.now() + 2)
    assert refuses(producer)


async def test_nothing_is_begun_for_a_partition_or_a_size_that_send_would_explain(
    bench: Bench, wire: WireCluster
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    assert refuses(producer, TopicPartition("unheard-of", 0))
    assert refuses(producer, TopicPartition("orders", 999))
    wire.push_errors(Api.PRODUCE, 10)
    await producer.send(WHERE, records(b"x" * 100_000))
    assert refuses(producer, value=b"x" * 100_000)


async def test_an_older_batch_that_still_waits_goes_first(bench: Bench) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    first: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
    assert producer.send_now(WHERE, OutgoingRecord(None, b"first"), first.set_result)
    assert refuses(producer)
    assert (await asyncio.wait_for(first, SECONDS)).verdict is Verdict.WRITTEN


async def test_an_engine_that_falls_leaves_it_unknown(bench: Bench, wire: WireCluster) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    wire.down()
    told: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
    assert producer.send_now(WHERE, OutgoingRecord(None, b"lost?"), told.set_result)
    await producer.stop(bench.clock.now() + 0.5)
    assert (await asyncio.wait_for(told, SECONDS)).verdict in (Verdict.UNKNOWN, Verdict.FAILED)
