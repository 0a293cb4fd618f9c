"""The producer on the wire bench: verdicts, a fresh producer after a failure, outages, sizes."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Problem, Verdict
from tests.support.waiting import eventually
from tests.support.wire import Api, WireCluster, wire_cluster
from tests.transport.kafka.bench import SECONDS, Bench, records

WHERE = TopicPartition("orders", 0)

MESSAGE_TOO_LARGE, TOPIC_AUTHORIZATION_FAILED, CORRUPT, OUT_OF_ORDER = 10, 29, 2, 45
NOT_LEADER, UNKNOWN_SERVER_ERROR = 6, -1
NOT_ENOUGH_REPLICAS, NOT_ENOUGH_AFTER_APPEND = 19, 20
INVALID_RECORD, INVALID_TIMESTAMP, POLICY_VIOLATION = 87, 32, 44


async def test_a_batch_is_acknowledged_with_its_first_offset(bench: Bench) -> None:
    producer = await bench.producer()
    first = await producer.send(WHERE, records(b"a", b"b"))
    second = await producer.send(WHERE, records(b"c"))
    assert (first.taken, first.verdict, first.base_offset) == (2, Verdict.WRITTEN, 0)
    assert (second.taken, second.base_offset) == (1, 2)
    assert first.timestamp_ms > 0


async def test_keys_headers_nulls_and_tombstones_arrive_as_they_were(bench: Bench) -> None:
    producer = await bench.producer()
    headers = (("a", b"1"), ("a", None), ("ü", b""))
    await producer.send(WHERE, [OutgoingRecord(b"k", b"v", headers), OutgoingRecord(b"k", None)])
    reader = await bench.reader()
    assert await reader.read(2) == [b"v", None]
    assert reader.records[0].headers == headers
    assert reader.records[0].key == b"k"


async def test_a_batch_takes_the_leading_records_that_fit(bench: Bench) -> None:
    producer = await bench.producer(tuning={"batch_bytes": 1000})
    sent = await producer.send(WHERE, records(*[b"x" * 300] * 10))
    assert (sent.taken, sent.verdict) == (3, Verdict.WRITTEN)


async def test_a_record_larger_than_a_batch_goes_alone(bench: Bench) -> None:
    producer = await bench.producer(tuning={"batch_bytes": 1000})
    sent = await producer.send(WHERE, records(b"x" * 5000, b"y"))
    assert (sent.taken, sent.verdict) == (1, Verdict.WRITTEN)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (CORRUPT, Verdict.FAILED),
        (OUT_OF_ORDER, Verdict.UNKNOWN),
        (UNKNOWN_SERVER_ERROR, Verdict.UNKNOWN),
    ],
)
async def test_after_a_failed_batch_a_fresh_producer_takes_the_next(
    bench: Bench, wire: WireCluster, code: int, verdict: Verdict
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    wire.push_errors(Api.PRODUCE, code)
    failed = await producer.send(WHERE, records(b"bad"))
    assert (failed.taken, failed.verdict) == (1, verdict)
    assert b"bad".decode() not in failed.reason
    again = await producer.send(WHERE, records(b"good"))
    assert again.verdict is Verdict.WRITTEN
    assert producer.contact().rebuilds == 1


REFUSALS = [
    (MESSAGE_TOO_LARGE, Verdict.TOO_LARGE),
    (TOPIC_AUTHORIZATION_FAILED, Verdict.REFUSED),
    (INVALID_RECORD, Verdict.REFUSED),
    (INVALID_TIMESTAMP, Verdict.REFUSED),
    (POLICY_VIOLATION, Verdict.REFUSED),
]


@pytest.mark.parametrize(("code", "verdict"), REFUSALS)
async def test_what_a_broker_certainly_did_not_write_costs_no_producer(
    bench: Bench, wire: WireCluster, code: int, verdict: Verdict
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    for number in range(3):
        wire.push_errors(Api.PRODUCE, code)
        refused = await producer.send(WHERE, records(b"bad" * (9 - number)))
        assert (refused.taken, refused.verdict) == (1, verdict)
        assert (await producer.send(WHERE, records(b"good"))).verdict is Verdict.WRITTEN
    assert producer.contact().rebuilds == 0


async def test_a_right_that_publishing_lacks_is_named(bench: Bench, wire: WireCluster) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    wire.push_errors(Api.PRODUCE, TOPIC_AUTHORIZATION_FAILED)
    refused = await producer.send(WHERE, records(b"bad"))
    assert refused.reason.startswith("these credentials lack WRITE on topic orders")


@pytest.mark.parametrize(("code", "verdict"), REFUSALS)
async def test_what_was_sent_twice_before_it_was_refused_costs_one(
    bench: Bench, wire: WireCluster, code: int, verdict: Verdict
) -> None:
    """The first may be in the log: what came under its numbers would be dropped as its repetition."""
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    wire.push_errors(Api.PRODUCE, NOT_LEADER, code)
    assert (await producer.send(WHERE, records(b"bad" * 9))).verdict is verdict
    assert (await producer.send(WHERE, records(b"good"))).verdict is Verdict.WRITTEN
    assert producer.contact().rebuilds == 1


async def test_a_record_that_is_no_smaller_than_one_that_was_too_large_is_not_sent(
    bench: Bench, wire: WireCluster
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    wire.push_errors(Api.PRODUCE, MESSAGE_TOO_LARGE)
    assert (await producer.send(WHERE, records(b"x" * 100_000))).verdict is Verdict.TOO_LARGE
    wire.track_requests()
    for size in (100_000, 100_001, 900_000):
        sent = await producer.send(WHERE, records(b"x" * size, b"small"))
        assert (sent.taken, sent.verdict) == (1, Verdict.TOO_LARGE)
        assert "max.message.bytes" in sent.reason
    assert not producer.send_now(WHERE, records(b"x" * 100_000)[0], lambda sent: None)
    assert Api.PRODUCE not in wire.requests()
    other = TopicPartition("payments", 0)
    wire.topic(other.topic)
    assert (await producer.send(WHERE, records(b"x" * 99_999))).verdict is Verdict.WRITTEN
    assert (await producer.send(other, records(b"x" * 100_000))).verdict is Verdict.WRITTEN


async def test_a_batch_with_a_record_that_its_topic_does_not_take_is_sent_in_parts(
    bench: Bench, wire: WireCluster
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"warm"))
    wire.push_errors(Api.PRODUCE, INVALID_RECORD, INVALID_RECORD)
    sent = await producer.send(WHERE, records(*[b"x"] * 8))
    assert (sent.taken, sent.verdict) == (2, Verdict.WRITTEN)
    wire.push_errors(Api.PRODUCE, *[INVALID_RECORD] * 4)
    sent = await producer.send(WHERE, records(*[b"x"] * 8))
    assert (sent.taken, sent.verdict) == (1, Verdict.REFUSED)
    assert "compacted" in sent.reason
    assert producer.contact().rebuilds == 0


async def test_a_batch_that_is_too_large_is_sent_again_in_smaller_ones(
    bench: Bench, wire: WireCluster
) -> None:
    """A topic may take less than our batch although it takes each of its records."""
    producer = await bench.producer()
    wire.push_errors(Api.PRODUCE, MESSAGE_TOO_LARGE)
    sent = await producer.send(WHERE, records(*[b"x" * 1000] * 8))
    assert sent.verdict is Verdict.WRITTEN
    assert 0 < sent.taken < 8


async def test_a_broker_that_is_not_the_leader_is_asked_again_in_silence(
    bench: Bench, wire: WireCluster
) -> None:
    producer = await bench.producer()
    wire.push_errors(Api.PRODUCE, NOT_LEADER)
    assert (await producer.send(WHERE, records(b"a"))).verdict is Verdict.WRITTEN
    assert producer.contact().rebuilds == 0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (NOT_ENOUGH_REPLICAS, "NotEnoughReplicasError: fewer replicas are in sync than min.insync.replicas"),
        (NOT_ENOUGH_AFTER_APPEND, "NotEnoughReplicasAfterAppendError: it was appended"),
        (NOT_LEADER, "NotLeaderForPartitionError"),
    ],
)
async def test_why_a_broker_does_not_take_what_the_engine_sends_again_is_known_until_it_does(
    bench: Bench, wire: WireCluster, code: int, told: str
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"before"))
    assert producer.complaint(WHERE) == ""
    wire.push_errors(Api.PRODUCE, *[code] * 1000)
    sending = asyncio.ensure_future(producer.send(WHERE, records(b"again")))
    await eventually(lambda: producer.complaint(WHERE).startswith(told), SECONDS, "a word of it")
    assert producer.complaint(TopicPartition("orders", 1)) == ""
    assert not sending.done()
    wire.clear_errors(Api.PRODUCE)
    assert (await asyncio.wait_for(sending, SECONDS)).verdict is Verdict.WRITTEN
    assert producer.complaint(WHERE) == ""


async def test_what_has_an_outcome_is_no_longer_complained_of(bench: Bench, wire: WireCluster) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"before"))
    wire.push_errors(Api.PRODUCE, NOT_LEADER, MESSAGE_TOO_LARGE)
    assert (await producer.send(WHERE, records(b"x" * 500))).verdict is Verdict.TOO_LARGE
    assert producer.complaint(WHERE) == ""


async def test_send_waits_through_an_outage(bench: Bench, wire: WireCluster) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"before"))
    wire.down()
    sending = asyncio.ensure_future(producer.send(WHERE, records(b"during")))
    await eventually(
        lambda: producer.contact().problem is Problem.BROKER_UNREACHABLE, SECONDS, "a word of the outage"
    )
    assert not sending.done()
    wire.up()
    assert (await asyncio.wait_for(sending, SECONDS)).verdict is Verdict.WRITTEN
    await eventually(lambda: producer.contact().problem is None, SECONDS, "a word of the recovery")
    assert producer.contact().rebuilds == 0


async def test_stop_is_bounded_with_every_broker_dead_and_settles_what_was_sent(
    bench: Bench, wire: WireCluster
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"before"))
    wire.down()
    sending = asyncio.ensure_future(producer.send(WHERE, records(b"during")))
    await eventually(lambda: producer.contact().problem is not None, SECONDS, "a word of the outage")
    began = bench.clock.now()
    await producer.stop(began + 1)
    assert bench.clock.now() - began < 1.2
    assert (await asyncio.wait_for(sending, 1)).verdict is Verdict.UNKNOWN


async def test_stop_before_any_broker_answered_is_bounded(bench: Bench, wire: WireCluster) -> None:
    wire.down()
    producer = await bench.producer()
    waiting = asyncio.ensure_future(producer.send(WHERE, records(b"never")))
    await eventually(
        lambda: producer.contact().problem is Problem.BROKER_UNREACHABLE, SECONDS, "a failed start"
    )
    began = bench.clock.now()
    await producer.stop(began + 1)
    assert bench.clock.now() - began < 1.2
    assert (await asyncio.wait_for(waiting, 1)).verdict is Verdict.FAILED


async def test_batches_that_the_engine_tries_again_after_its_end_are_forgotten_without_a_word() -> None:
    """Those of several brokers, of which it looks at one; what nobody looks at fails the test."""
    with wire_cluster(brokers=3) as wire:
        wire.topic("orders", partitions=3)
        places = [TopicPartition("orders", partition) for partition in range(3)]
        for where in places:
            wire.leader(*where, where.partition + 1)
        bench = Bench(wire.bootstrap_servers)
        producer = await bench.producer()
        await asyncio.gather(*(producer.send(where, records(b"a")) for where in places))
        wire.round_trip(60_000)
        sends = [asyncio.ensure_future(producer.send(where, records(b"b"))) for where in places]
        await eventually(lambda: _engine_sends() == 3, SECONDS, "three requests to be under way")
        await producer.stop(bench.clock.now() + 0.3)
        assert {sent.verdict for sent in await asyncio.gather(*sends)} == {Verdict.UNKNOWN}
        await eventually(lambda: not _engine_sends(), SECONDS, "the engine to have tried for the last time")


def _engine_sends() -> int:
    return sum("_send_produce_req" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_a_cancelled_send_breaks_nothing(bench: Bench, wire: WireCluster) -> None:
    """What was handed over may land; what comes after lands after it."""
    producer = await bench.producer()
    await producer.send(WHERE, records(b"before"))
    wire.round_trip(300)
    sending = asyncio.ensure_future(producer.send(WHERE, records(b"abandoned")))
    wire.track_requests()
    await eventually(lambda: Api.PRODUCE in wire.requests(), SECONDS, "the request")
    sending.cancel()
    wire.round_trip(0)
    assert (await producer.send(WHERE, records(b"after"))).verdict is Verdict.WRITTEN
    reader = await bench.reader()
    assert await reader.read(3) == [b"before", b"abandoned", b"after"]


async def test_a_batch_that_fails_after_its_caller_went_away_still_replaces_the_producer(
    bench: Bench, wire: WireCluster
) -> None:
    producer = await bench.producer()
    await producer.send(WHERE, records(b"before"))
    wire.round_trip(200)
    wire.push_errors(Api.PRODUCE, CORRUPT)
    sending = asyncio.ensure_future(producer.send(WHERE, records(b"abandoned")))
    wire.track_requests()
    await eventually(lambda: Api.PRODUCE in wire.requests(), SECONDS, "the request")
    sending.cancel()
    await eventually(lambda: producer.contact().rebuilds == 1, SECONDS, "a fresh producer")
    wire.round_trip(0)
    assert (await producer.send(WHERE, records(b"after"))).verdict is Verdict.WRITTEN


async def test_other_partitions_are_not_disturbed_by_a_failure(bench: Bench, wire: WireCluster) -> None:
    producer = await bench.producer()
    other = TopicPartition("orders", 1)
    await producer.send(WHERE, records(b"a"))
    wire.push_errors(Api.PRODUCE, CORRUPT)
    results = await asyncio.gather(producer.send(WHERE, records(b"b")), producer.send(other, records(b"c")))
    assert Verdict.UNKNOWN not in {sent.verdict for sent in results}
    assert (await producer.send(other, records(b"d"))).verdict is Verdict.WRITTEN


async def test_partitions_are_counted(bench: Bench) -> None:
    producer = await bench.producer()
    assert await producer.partition_count("orders") == 2


async def test_a_missing_topic_is_said_to_be_missing_and_is_not_made(bench: Bench, wire: WireCluster) -> None:
    producer = await bench.producer()
    for _ in range(2):
        with pytest.raises(TopicUnavailable, match="no such topic"):
            await producer.partition_count("order")
    sent = await producer.send(TopicPartition("order", 0), records(b"a"))
    assert (sent.verdict, sent.taken) == (Verdict.FAILED, 1)


async def test_a_partition_beyond_the_last_is_refused(bench: Bench) -> None:
    producer = await bench.producer()
    sent = await producer.send(TopicPartition("orders", 2), records(b"a"))
    assert (sent.verdict, sent.reason) == (Verdict.REFUSED, "the topic has 2 partitions")


async def test_counting_partitions_waits_for_the_cluster(bench: Bench, wire: WireCluster) -> None:
    """No broker at all is not the same as no such topic."""
    producer = await bench.producer()
    await producer.partition_count("orders")
    wire.topic("later")
    wire.down()
    counting = asyncio.ensure_future(producer.partition_count("later"))
    await eventually(lambda: producer.contact().problem is not None, SECONDS, "a word of the outage")
    assert not counting.done()
    wire.up()
    assert await asyncio.wait_for(counting, SECONDS) == 1


async def test_waiting_for_a_topic_ends_when_the_producer_stops(bench: Bench, wire: WireCluster) -> None:
    producer = await bench.producer()
    await producer.partition_count("orders")
    wire.down()
    await eventually(lambda: producer.contact().problem is not None, SECONDS, "a word of the outage")
    counting = asyncio.ensure_future(producer.partition_count("later"))
    sending = asyncio.ensure_future(producer.send(TopicPartition("later", 0), records(b"a")))
    await eventually(lambda: not counting.done(), SECONDS, "the question")
    await producer.stop(bench.clock.now() + 1)
    with pytest.raises(TopicUnavailable, match="stopped"):
        await asyncio.wait_for(counting, SECONDS)
    assert (await asyncio.wait_for(sending, SECONDS)).verdict is Verdict.FAILED


async def test_a_partition_without_a_leader_is_waited_for_in_peace(bench: Bench, wire: WireCluster) -> None:
    """The engine would ask for metadata as fast as it is answered, and take a whole processor."""
    producer = await bench.producer()
    await producer.send(WHERE, records(b"a"))
    wire.leader("orders", 0, -1)
    wire.push_errors(Api.PRODUCE, NOT_LEADER)
    wire.track_requests()
    sending = asyncio.ensure_future(producer.send(WHERE, records(b"b")))
    began = bench.clock.now()
    await eventually(lambda: bench.clock.now() > began + 0.5, SECONDS, "half a second")
    assert 0 < wire.requests().count(Api.METADATA) < 60
    assert not sending.done()
    wire.leader("orders", 0, 1)
    assert (await asyncio.wait_for(sending, SECONDS)).verdict is Verdict.WRITTEN


async def test_an_idle_producer_stays_in_contact(bench: Bench) -> None:
    producer = await bench.producer()
    await producer.partition_count("orders")
    began = bench.clock.now()

    def much_later() -> bool:
        last = producer.contact().last
        return last is not None and last > began + 1

    await eventually(much_later, SECONDS, "a fresh answer")
