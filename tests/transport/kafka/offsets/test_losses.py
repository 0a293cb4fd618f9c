"""Records that a real Kafka removed before they were read: counted, told, and reading goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from confluent_kafka import TopicPartition as TheirPartition
from confluent_kafka.cimpl import NewTopic

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Loss, Position
from convex_messaging_fastapi.transport.kafka.offsets.marks import marked, unmarked
from convex_messaging_fastapi.transport.kafka.offsets.ownership import Holding
from convex_messaging_fastapi.transport.kafka.offsets.positions import Moves
from convex_messaging_fastapi.verdicts import live, overall, ready
from tests.support.independent import Independent
from tests.support.waiting import eventually, until
from tests.transport.kafka.bench import Bench, Reader, bus_over
from tools.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka

POLICIES = pytest.mark.parametrize("policy", ["earliest", "latest"])


@pytest.fixture
async def real(kafka: Cluster) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, real=True)
    yield bench
    await bench.close()


async def read_and_commit(bench: Bench, topic: str, group: str, upto: int) -> Reader:
    """A reader of partition 0, which has read all there is, and finished and committed that much of it."""
    reader = await bench.reader(topic, group=group)
    await reader.until(lambda: reader.records, "the records")
    assert await reader.commit({TopicPartition(topic, 0): upto}) is CommitOutcome.COMMITTED
    return reader


def remove_below(kafka: Cluster, where: TheirPartition) -> None:
    admin = kafka.admin()
    for removed in admin.delete_records([where]).values():
        removed.result(10)


def make_anew(kafka: Cluster, topic: str) -> None:
    admin = kafka.admin()
    admin.delete_topics([topic])[topic].result(10)
    kafka.create_topic(topic, partitions=1)


def numbers(first: int, end: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, end)]


def told(losses: tuple[Loss, ...]) -> list[tuple[int, int, int]]:
    return [(loss.from_offset, loss.to_offset, loss.records) for loss in losses]


@POLICIES
async def test_what_was_removed_before_it_was_read_is_counted_and_what_is_left_is_read(
    real: Bench, kafka: Cluster, unique: str, policy: str
) -> None:
    """Also under `latest`, which is about groups that have read nothing yet."""
    topic = kafka.create_topic(unique, partitions=1)
    await real.write(*numbers(0, 10), topic=topic)
    first = await read_and_commit(real, topic, unique, 3)
    await first.consumer.stop(real.clock.now() + 2)
    await asyncio.to_thread(remove_below, kafka, TheirPartition(topic, 0, 7))

    second = await real.reader(topic, group=unique, auto_offset_reset=policy)
    assert await second.read(3) == numbers(7, 10)
    assert second.positions[TopicPartition(topic, 0)] == 10
    contact = second.consumer.contact()
    assert (contact.problem, contact.lost) == (None, 4)
    assert told(contact.losses) == [(3, 7, 4)]
    assert "4 records are gone before they were read: 3..6" in contact.losses[0].reason


@POLICIES
async def test_a_topic_made_anew_is_told_of_and_read_from_where_the_policy_says(
    real: Bench, kafka: Cluster, independent: Independent, unique: str, policy: str
) -> None:
    """With fewer records than before, while a member holds it: its offsets are beyond the new log's end."""
    topic = kafka.create_topic(unique, partitions=1)
    await real.write(*numbers(0, 10), topic=topic)
    reader = await real.reader(topic, group=unique, auto_offset_reset=policy)
    await reader.until(lambda: reader.listener.held, "an assignment")
    if policy == "latest":
        await real.write(*numbers(0, 10), topic=topic)
    await reader.read(10)
    where, end = TopicPartition(topic, 0), reader.positions[TopicPartition(topic, 0)]
    assert await reader.commit({where: end}) is CommitOutcome.COMMITTED
    reader.records.clear()

    await asyncio.to_thread(make_anew, kafka, topic)
    await asyncio.to_thread(independent.write, topic, numbers(100, 103))
    await reader.until(lambda: reader.consumer.contact().losses, "a word of the new log", 20)
    await reader.until(lambda: reader.listener.held, "an assignment", 20)
    await asyncio.to_thread(independent.write, topic, numbers(103, 105))
    await reader.until(lambda: reader.positions.get(where) == 5, "the end of the new log")

    seen = [record.value for record in reader.records]
    (loss,) = reader.consumer.contact().losses
    assert (loss.where, loss.from_offset) == (where, end)
    # the latest is where the new log ended when it was found, perhaps before anything was written
    assert loss.to_offset in ((0,) if policy == "earliest" else (0, 3))
    assert loss.records == loss.to_offset
    assert seen == numbers(100 + loss.to_offset, 105)
    assert await reader.commit({where: 5}) is CommitOutcome.COMMITTED
    assert (await asyncio.to_thread(independent.committed, unique, topic))[0].offset == 5


LOOK_OFTEN = {"metadata_max_age_ms": 500, "confirm_seconds": 0.5}
LONG_SESSION = 30_000
"""Longer than a test may hold up the loop."""


async def test_topics_made_anew_are_known_although_their_logs_are_longer_than_before_at_once(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    """No broker says a word of it then, and old offsets may be committed in new logs.

    The engine fetches by name: it reads on where it stood, until it looks again at what topics there are.
    """
    topics = [kafka.create_topic(f"{unique}-{name}", partitions=1) for name in ("a", "b")]
    for topic in topics:
        await real.write(*numbers(0, 3), topic=topic)
    reader = await real.reader(*topics, group=unique, session_timeout_ms=LONG_SESSION, tuning=LOOK_OFTEN)
    await reader.read(6)
    reader.records.clear()

    # Not in a thread: the engine, in this one, is to find nothing but the new topics.
    for topic in topics:
        make_anew(kafka, topic)
        independent.write(topic, numbers(100, 110))
    assert await reader.commit({TopicPartition(topic, 0): 3 for topic in topics}) is CommitOutcome.COMMITTED
    whole = {(topic, value) for topic in topics for value in numbers(100, 110)}
    await reader.until(lambda: {(seen.topic, seen.value) for seen in reader.records} >= whole, "new logs", 20)

    losses = reader.consumer.contact().losses
    assert [(loss.from_offset >= 3, loss.to_offset, loss.records) for loss in losses] == [(True, 0, 0)] * 2
    assert {loss.where.topic for loss in losses} == set(topics)
    assert all("made anew" in loss.reason for loss in losses)


async def test_a_commit_in_a_topic_that_is_no_more_is_none_to_whoever_comes_next(
    real: Bench, kafka: Cluster, unique: str
) -> None:
    """A member that had not heard of the new topic may have left it there, and died."""
    topic = kafka.create_topic(unique, partitions=1)
    await real.write(*numbers(0, 10), topic=topic)
    dead = await real.reader(topic, group=unique)
    holding = await holding_of(dead)
    now = holding.member.topic_id(topic)
    assert now is not None
    stale = Position(7, marked("", now._replace(id=b"an earlier topic")))
    await holding.member.commit({TopicPartition(topic, 0): stale}, holding.who)
    await dead.consumer.stop(real.clock.now() + 2)

    reader = await real.reader(topic, group=unique, tuning=LOOK_OFTEN)
    assert await reader.read(10) == numbers(0, 10)
    assert told(reader.consumer.contact().losses) == [(7, 0, 0)]


async def test_a_bus_tells_of_both_kinds_and_goes_on_ready_and_alive(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    kafka.create_topic(unique, partitions=1)
    await real.write(*numbers(0, 10), topic=unique)
    await asyncio.to_thread(remove_below, kafka, TheirPartition(unique, 0, 4))
    handled: list[bytes] = []
    bus = bus_over(kafka.bootstrap, unique, enable_auto_commit=False)

    @bus.subscriber(unique)
    async def handle(message: bytes) -> None:
        handled.append(message)

    first = await read_and_commit(real, unique, unique, 2)
    await first.consumer.stop(real.clock.now() + 2)
    async with bus:
        await eventually(lambda: handled == numbers(4, 10), 15, "what is left to be handled")
        (worker,) = bus.status().workers
        assert (worker.records_lost, [loss.from_offset for loss in worker.losses]) == (2, [2])
        assert overall(bus.status()).reasons == ("records_lost",)
        assert live(bus.status()).ok
        assert ready(bus.status()).ok

        await asyncio.to_thread(make_anew, kafka, unique)
        await asyncio.to_thread(independent.write, unique, numbers(100, 103))
        await eventually(lambda: handled[6:] == numbers(100, 103), 20, "the new log to be handled")
        assert [loss.to_offset for loss in bus.status().workers[0].losses] == [4, 0]
    assert (await asyncio.to_thread(independent.committed, unique, unique))[0].offset == 3


@pytest.mark.faults
async def test_a_log_that_an_unclean_election_shortened_is_told_of(
    kafka_cluster: Cluster, unique: str
) -> None:
    """Of two replicas one missed the last records, and is all that is left."""
    leader, behind, _ = kafka_cluster.brokers
    await asyncio.to_thread(create_unsafe, kafka_cluster, unique, [leader.id, behind.id])
    where = TopicPartition(unique, 0)
    bench = Bench(kafka_cluster.bootstrap, real=True)
    async with AsyncExitStack() as ends:
        ends.push_async_callback(bench.close)
        await bench.write(*numbers(0, 5), topic=unique)
        await asyncio.to_thread(behind.kill)
        await bench.write(*numbers(5, 12), topic=unique)
        reader = await bench.reader(unique, group=unique)
        await reader.read(12)
        assert await reader.commit({where: 12}, seconds=10) is CommitOutcome.COMMITTED
        reader.records.clear()

        await asyncio.to_thread(leader.kill)
        await asyncio.to_thread(behind.start)
        await reader.until(lambda: reader.consumer.contact().losses, "a word of the shorter log", 60)
        (loss,) = reader.consumer.contact().losses
        assert (loss.where, loss.from_offset, loss.to_offset) == (where, 12, 0)
        assert "the log ends at 5, before offset 12" in loss.reason
        assert await reader.read(5) == numbers(0, 5)


def create_unsafe(cluster: Cluster, topic: str, replicas: list[int]) -> None:
    unsafe = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
    new = NewTopic(topic, 1, replica_assignment=[replicas], config=unsafe)
    admin = cluster.admin()
    admin.create_topics([new], operation_timeout=10)[topic].result(20)
    until(lambda: topic in cluster.metadata().topics, 20, "a word of the topic")
    until(lambda: cluster.leader(topic).id == replicas[0], 20, "the leader")


async def test_nothing_of_a_topic_is_committed_while_its_log_is_in_doubt(
    real: Bench, kafka: Cluster, unique: str
) -> None:
    """An old offset in a log made anew would hide its beginning from whoever comes next."""
    topic = kafka.create_topic(unique, partitions=2)
    reader = await real.reader(topic, group=unique)
    await reader.until(lambda: reader.listener.held, "an assignment")
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    never: asyncio.Future[Moves] = asyncio.get_running_loop().create_future()

    moving_of(reader)[other] = asyncio.ensure_future(_of(never))
    assert await reader.commit({one: 0}) is CommitOutcome.FAILED

    moving_of(reader).pop(other).cancel()
    assert await reader.commit({one: 0}) is CommitOutcome.COMMITTED


async def test_nothing_that_was_read_of_a_topic_that_is_another_now_is_committed(
    real: Bench, kafka: Cluster, unique: str, independent: Independent
) -> None:
    """And nobody waits for it to be: there is nothing to commit it to."""
    topic = kafka.create_topic(unique, partitions=1)
    reader = await real.reader(topic, group=unique)
    holding = await holding_of(reader)
    where = TopicPartition(topic, 0)
    assert await reader.commit({where: 0}) is CommitOutcome.COMMITTED
    stored = (await holding.member.committed([where]))[where]
    assert unmarked(stored.metadata) == ("", holding.member.topic_id(topic))
    assert holding.member.topic_id(topic) is not None

    now = holding.topic_ids[topic]
    assert now is not None
    holding.topic_ids[topic] = now._replace(id=b"an earlier topic")
    assert await reader.commit({where: 7}) is CommitOutcome.COMMITTED
    assert (await asyncio.to_thread(independent.committed, unique, topic))[0].offset == 0


async def holding_of(reader: Reader) -> Holding:
    await reader.until(lambda: reader.listener.held, "an assignment")
    holding = reader.consumer._ownership.holding
    assert holding is not None
    return holding


async def test_the_doubt_about_a_log_holds_up_no_commit_of_another_topic(
    real: Bench, kafka: Cluster, unique: str, independent: Independent
) -> None:
    doubtful, sound = (kafka.create_topic(f"{unique}-{name}", partitions=1) for name in ("a", "b"))
    reader = await real.reader(doubtful, sound, group=unique)
    await reader.until(lambda: len(reader.listener.held) == 2, "an assignment")
    never: asyncio.Future[Moves] = asyncio.get_running_loop().create_future()

    moving_of(reader)[TopicPartition(doubtful, 0)] = asyncio.ensure_future(_of(never))
    both = {TopicPartition(doubtful, 0): 0, TopicPartition(sound, 0): 0}
    left_out, stored = CommitOutcome.FAILED, CommitOutcome.COMMITTED  # the first is to be tried again
    assert await reader.outcomes(both) == dict(zip(both, (left_out, stored), strict=True))

    assert not await asyncio.to_thread(independent.committed, unique, doubtful)
    assert await asyncio.to_thread(independent.committed, unique, sound)
    moving_of(reader).popitem()[1].cancel()


def moving_of(reader: Reader) -> dict[TopicPartition, asyncio.Task[Moves]]:
    assert reader.consumer._reading is not None
    return reader.consumer._reading.course._moving


async def _of(answer: asyncio.Future[Moves]) -> Moves:
    return await answer
