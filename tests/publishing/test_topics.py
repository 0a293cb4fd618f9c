"""How many partitions a topic has is asked once, asked again in time, and never waited for too long."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import PublishFailed, PublishManyError, TopicUnavailable
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from convex_messaging_fastapi.publishing.topics import REFRESH_SECONDS, STICKY_RECORDS
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Problem
from tests.publishing.fakes import FakeProducer, listed, record, until


async def test_the_partition_count_is_asked_once_for_all(
    publisher: Publisher, producer: FakeProducer
) -> None:
    await asyncio.gather(*(publisher.publish("t", record(n), 10) for n in range(100)))
    await publisher.publish("t", record("later"), 10)
    assert producer.counted == 1


async def test_waiting_for_the_partition_count_keeps_the_order_of_publishing(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.counting.clear()
    tasks = [asyncio.create_task(publisher.publish("t", record(n), 10)) for n in range(50)]
    await until(lambda: publisher.status().pending == 50)
    producer.counting.set()
    await asyncio.gather(*tasks)
    assert producer.values("t") == [str(n).encode() for n in range(50)]


async def test_waiting_for_the_partition_count_counts_against_the_deadline(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.counting.clear()
    producer.problem = Problem.CONNECTING
    task = asyncio.create_task(publisher.publish("t", record("a"), 2))
    await until(lambda: producer.counted)
    clock.advance(2)
    with pytest.raises(PublishFailed, match=r"out of contact \(connecting; the log says more\)"):
        await task
    producer.counting.set()
    await publisher.publish("t", record("b"), 2)
    assert producer.values("t") == [b"b"]


async def test_what_to_do_about_a_topic_is_said_by_who_knows_what_is_wrong_with_it(
    publisher: Publisher, producer: FakeProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(topic: str) -> int:
        raise TopicUnavailable(f"no right on topic {topic}", "ask for it")

    monkeypatch.setattr(producer, "partition_count", refuse)
    with pytest.raises(
        PublishFailed, match=r"^A message for 't' was not written: no right on topic t\. "
    ) as got:
        await publisher.publish("t", record("a"), 10)
    assert str(got.value).endswith("It is certainly not written; ask for it.")


async def test_a_missing_topic_fails_with_the_clusters_sentence_and_is_asked_for_again(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.partitions = None
    results = await asyncio.gather(
        *(publisher.publish("t", record(n), 10) for n in range(3)), return_exceptions=True
    )
    assert all("the cluster has no topic 't'" in str(error) for error in results)
    assert all("create the topic" in str(error) for error in results)
    assert len({id(error) for error in results}) == 3
    producer.partitions = 1
    assert (await publisher.publish("t", record("now"), 10)).offset == 0


async def test_an_unexplained_error_of_the_transport_fails_the_message(
    publisher: Publisher,
    producer: FakeProducer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(topic: str) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(producer, "partition_count", broken)
    with pytest.raises(PublishFailed, match="the transport raised ZeroDivisionError"):
        await publisher.publish("t", record("a"), 10)
    assert "unexplained error" in caplog.text


async def test_partitions_that_were_added_are_used_after_a_while_and_nobody_waits_for_the_answer(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.partitions = 1
    await publisher.publish("t", record("a"), 10)
    producer.partitions = 8
    with pytest.raises(PublishFailed, match="partitions 0 to 0"):
        await publisher.publish("t", record("a"), 10, partition=7)
    clock.advance(REFRESH_SECONDS)
    producer.counting.clear()
    assert (await publisher.publish("t", record("b"), 10)).partition == 0
    producer.counting.set()
    await until(lambda: not any(task.get_name() == "partitions of t" for task in asyncio.all_tasks()))
    assert (await publisher.publish("t", record("c"), 10, partition=7)).partition == 7


async def test_a_partition_that_is_named_is_used_and_one_that_does_not_exist_is_refused(
    publisher: Publisher, producer: FakeProducer
) -> None:
    assert (await publisher.publish("t", record("a"), 10, partition=2)).partition == 2
    for wrong in (-1, 4):
        with pytest.raises(PublishFailed, match="partitions 0 to 3"):
            await publisher.publish("t", record("a"), 10, partition=wrong)


@pytest.mark.parametrize("name", ["murmur2", "crc32"])
async def test_a_key_goes_to_the_partition_of_its_partitioner(
    name: str, producer: FakeProducer, clock: ManualClock
) -> None:
    partitioner = Partitioner(name)  # type: ignore[arg-type]
    publisher = Publisher(producer, clock, partitioner)
    await publisher.start()
    for key in (b"", b"1", b"user-42"):
        receipt = await publisher.publish("t", record("a", key), 10)
        assert receipt.partition == partitioner.partition(key, 4)
    await publisher.stop(1)


async def test_keyless_messages_share_a_partition_until_its_batch_is_on_its_way(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.at_once = False  # else the first of each crowd is on its way before the others come
    batches = [await asyncio.gather(*(keyless(publisher) for _ in range(10))) for _ in range(8)]
    partitions = [{at.partition for at in batch} for batch in batches]
    assert all(len(used) == 1 for used in partitions)
    assert [used.pop() for used in partitions[:4]] != [0, 0, 0, 0]
    assert {at.partition for batch in batches for at in batch} == {0, 1, 2, 3}


async def test_keyless_messages_go_around_a_partition_that_is_stuck(
    publisher: Publisher, producer: FakeProducer
) -> None:
    stuck = (await keyless(publisher)).partition
    producer.gate.clear()
    producer.entered.clear()
    waiting = asyncio.create_task(publisher.publish("t", record("x"), 10, partition=stuck))
    await until(producer.entered.is_set)
    others = [asyncio.create_task(keyless(publisher)) for _ in range(3 * STICKY_RECORDS)]
    await until(lambda: publisher.status().pending == 3 * STICKY_RECORDS + 1)
    producer.gate.set()
    used = {at.partition for at in await asyncio.gather(*others)}
    await waiting
    assert used == {0, 1, 2, 3} - {stuck}


async def test_keyless_messages_share_a_stuck_cluster_evenly(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    await keyless(publisher)
    producer.gate.clear()
    tasks = [asyncio.create_task(keyless(publisher)) for _ in range(8 * STICKY_RECORDS)]
    await until(lambda: publisher.status().pending == 8 * STICKY_RECORDS)
    producer.gate.set()
    receipts = await asyncio.gather(*tasks)
    counts = [sum(at.partition == p for at in receipts) for p in range(4)]
    assert counts == [2 * STICKY_RECORDS] * 4


async def test_a_keyless_list_is_shared_evenly_and_learns_of_new_partitions_like_a_message(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    await keyless(publisher)
    producer.partitions = 8
    clock.advance(REFRESH_SECONDS)
    keyless_list = [record(n, key=None) for n in range(8 * STICKY_RECORDS)]
    first = await publisher.publish_many("t", listed(keyless_list), 10)
    again = await publisher.publish_many("t", listed(keyless_list), 10)
    assert {at.partition for at in first + again} == set(range(8))
    for partition in range(8):
        log = producer.log[TopicPartition("t", partition)]
        written = [int(read.value or b"") for read in log if read.value != b"v"]
        turns = [written[i : i + STICKY_RECORDS] for i in range(0, len(written), STICKY_RECORDS)]
        assert all(turn == sorted(turn) for turn in turns)


@pytest.mark.parametrize("together", [True, False])
async def test_topics_that_are_not_there_are_forgotten(
    publisher: Publisher, producer: FakeProducer, together: bool
) -> None:
    producer.partitions = None
    names = [f"missing-{n}" for n in range(500)]
    if together:
        publishing = (publisher.publish(name, record("v"), 10) for name in names)
        ended = await asyncio.gather(*publishing, return_exceptions=True)
        assert all(isinstance(each, PublishFailed) for each in ended)
    else:
        for name in names:
            with pytest.raises(PublishManyError):
                await publisher.publish_many(name, listed([record("v")]), 10)
    assert publisher._topics == {}


@pytest.mark.parametrize("end", ["overdue", "cancelled"])
async def test_nobody_asks_on_for_a_topic_for_which_nobody_waits(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock, end: str
) -> None:
    producer.counting.clear()
    publishing = [asyncio.create_task(publisher.publish(f"t{n}", record("v"), 3)) for n in range(500)]
    await until(lambda: producer.counted == 500)
    if end == "overdue":
        clock.advance(3.1)
    else:
        for task in publishing:
            task.cancel()
    await asyncio.gather(*publishing, return_exceptions=True)
    assert publisher._topics == {}
    await until(lambda: not any(task.get_name().startswith("partitions of") for task in asyncio.all_tasks()))
    producer.counting.set()
    assert (await publisher.publish("t1", record("v"), 3)).offset == 0


async def test_a_topic_that_goes_away_is_forgotten_once_nothing_is_under_way_to_it(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    await publisher.publish("t", record("v"), 10, partition=0)
    producer.gate.clear()
    flying = asyncio.create_task(publisher.publish("t", record("v"), 1000, partition=0))
    await until(lambda: producer.sending)
    producer.partitions = None
    clock.advance(REFRESH_SECONDS)
    late = asyncio.create_task(publisher.publish("t", record("v"), 10, partition=0))
    await until(lambda: producer.counted == 2)
    producer.gate.set()
    await asyncio.gather(flying, late, return_exceptions=True)
    with pytest.raises(PublishFailed, match="no topic"):
        await publisher.publish("t", record("v"), 10)
    assert publisher._topics == {}
    producer.partitions = 4
    assert (await publisher.publish("t", record("v"), 10)).topic == "t"


async def keyless(publisher: Publisher):  # type: ignore[no-untyped-def]
    return await publisher.publish("t", record("v", key=None), 10)
