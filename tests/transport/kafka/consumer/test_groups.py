"""Groups on a real Kafka: drains, hand-overs and late commits, which only Kafka itself can judge."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from confluent_kafka import Producer

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, NewTopic, Position, Verdict
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tests.transport.kafka.bench import Bench, Reader, records
from tools.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka


@pytest.fixture
async def real(kafka: Cluster) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, real=True)
    yield bench
    await bench.close()


class Worker:
    """Handles records one after another, as fast as they come, and commits only when it is revoked."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.handled: list[Record] = []
        self.outcomes: list[CommitOutcome] = []
        self._next: dict[TopicPartition, int] = {}
        self._clock = SystemClock()
        self._task = asyncio.ensure_future(self._run())
        reader.listener.on_revoked = self._on_revoked

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._commit(self.reader.epoch, self._clock.now() + 2)
        await self.reader.consumer.stop(self._clock.now() + 2)

    async def _run(self) -> None:
        while True:
            fetched = await self.reader.fetch(wait=0.05)
            for batch in fetched.records.values():
                self.handled += batch
            self._next |= fetched.positions

    async def _on_revoked(self, epoch: int, deadline: float) -> None:
        await self._commit(epoch, deadline)

    async def _commit(self, epoch: int, deadline: float) -> None:
        held = {where: Position(offset) for where, offset in self._next.items()}
        self._next = {}
        if held:
            outcomes = await self.reader.consumer.commit(epoch, held, deadline)
            self.outcomes.extend(outcomes.values())


async def test_members_come_and_go_without_a_repeat_or_a_loss(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    """Each revocation commits under the old generation before the partitions move on."""
    topic = kafka.create_topic(unique, partitions=6)
    producer = await real.producer()
    written = 0

    async def write(count: int) -> None:
        nonlocal written
        for partition in range(6):
            sent = await producer.send(
                TopicPartition(topic, partition), records(*[b"%d" % n for n in range(count)])
            )
            assert (sent.taken, sent.verdict) == (count, Verdict.WRITTEN)
        written += 6 * count

    first = Worker(await real.reader(topic, group=unique))
    await write(50)
    await eventually(lambda: len(first.handled) == written, 20, "the first member to read all")
    workers = [first]
    for _ in range(3):
        second = Worker(await real.reader(topic, group=unique))
        workers.append(second)
        await eventually(lambda: second.reader.listener.held, 20, "the second member to own something")  # noqa: B023
        await write(50)
        await eventually(
            lambda: sum(len(worker.handled) for worker in workers) >= written, 20, "all to be read"
        )
        await second.stop()
        await eventually(lambda: len(first.reader.listener.held) == 6, 20, "the first to own all")
    await write(10)
    await eventually(lambda: sum(len(worker.handled) for worker in workers) >= written, 20, "the rest")
    await first.stop()

    seen = Counter((r.partition, r.offset) for worker in workers for r in worker.handled)
    assert len(seen) == written
    assert set(seen.values()) == {1}
    assert {outcome for worker in workers for outcome in worker.outcomes} == {CommitOutcome.COMMITTED}
    committed = await asyncio.to_thread(independent.committed, unique, topic)
    ends = await asyncio.to_thread(independent.ends, topic)
    assert {partition: stored.offset for partition, stored in committed.items()} == ends


async def test_a_commit_is_stale_once_its_revocation_is_over(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    topic = kafka.create_topic(unique, partitions=2)
    await real.write(b"a", b"b", topic=topic)
    first = await real.reader(topic, group=unique)
    await first.read(2)
    where, old = TopicPartition(topic, 0), first.epoch
    second = await real.reader(topic, group=unique)
    await asyncio.gather(
        first.until(lambda: len(first.listener.assignments) > 1, "another assignment"),
        second.until(lambda: second.listener.held, "an assignment"),
    )
    late = await first.consumer.commit(old, {where: Position(1)}, real.clock.now() + 2)
    assert late == {where: CommitOutcome.STALE}
    assert await asyncio.to_thread(independent.committed, unique, topic) == {}


async def test_a_commit_in_flight_when_the_coordinator_froze_moves_nothing_back(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    """Given up at its deadline, it may be stored when the broker thaws, but never after a later one."""
    topic = kafka.create_topic(unique, partitions=1)
    await real.write(b"a", b"b", b"c", topic=topic)
    reader = await real.reader(topic, group=unique, session_timeout_ms=10_000)
    await reader.read(3)
    where = TopicPartition(topic, 0)
    broker = kafka.brokers[0]
    await asyncio.to_thread(broker.pause)
    outcome = CommitOutcome.COMMITTED
    while outcome is CommitOutcome.COMMITTED:  # a signal may arrive a moment after it was sent
        outcome = await reader.commit({where: 1}, seconds=0.3)
    assert outcome is CommitOutcome.UNKNOWN
    await asyncio.to_thread(broker.resume)
    await reader.until(lambda: reader.consumer.contact().problem is None, "contact", 20)
    assert await reader.commit({where: 3}, seconds=5) is CommitOutcome.COMMITTED
    committed = await asyncio.to_thread(independent.committed, unique, topic)
    assert committed[0].offset == 3


async def test_what_a_transaction_aborted_is_not_delivered_and_its_gap_is_passed(
    real: Bench, kafka: Cluster, independent: Independent, unique: str
) -> None:
    def write() -> None:
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": unique})
        producer.init_transactions(20)
        for value, keep in ((b"kept", True), (b"dropped", False)):
            producer.begin_transaction()
            producer.produce(unique, value, partition=0)
            producer.flush(20)
            (producer.commit_transaction if keep else producer.abort_transaction)(20)

    kafka.create_topic(unique, partitions=1)
    await asyncio.to_thread(write)
    reader = await real.reader(unique, group=unique)
    end = (await asyncio.to_thread(independent.ends, unique))[0]
    where = TopicPartition(unique, 0)
    await reader.until(lambda: reader.positions.get(where) == end, "the end of the log")
    assert [record.value for record in reader.records] == [b"kept"]


async def test_a_topic_is_made_as_it_was_asked_for(real: Bench, kafka: Cluster, unique: str) -> None:
    admin = real.transport().admin()
    wanted = NewTopic(unique, partitions=3, config={"retention.ms": "60000"})
    await admin.ensure_topic(wanted)
    await admin.ensure_topic(wanted._replace(partitions=5))
    topic = (await asyncio.to_thread(kafka.metadata)).topics[unique]
    assert len(topic.partitions) == 3
    assert {len(partition.replicas) for partition in topic.partitions.values()} == {1}
    producer = await real.producer()
    assert await producer.partition_count(unique) == 3


async def test_the_cluster_chooses_what_was_left_to_it(real: Bench, kafka: Cluster, unique: str) -> None:
    await real.transport().admin().ensure_topic(NewTopic(unique))
    assert len((await asyncio.to_thread(kafka.metadata)).topics[unique].partitions) >= 1


async def test_a_topic_that_cannot_be_made_says_why(real: Bench, unique: str) -> None:
    admin = real.transport().admin()
    with pytest.raises(TopicUnavailable, match=r"no\.such\.setting"):
        await admin.ensure_topic(NewTopic(unique, config={"no.such.setting": "1"}))
    with pytest.raises(TopicUnavailable, match="ReplicationFactor"):
        await admin.ensure_topic(NewTopic(unique, replication_factor=9))


async def test_a_record_too_large_for_its_topic_spares_the_next(
    real: Bench, kafka: Cluster, unique: str
) -> None:
    """The broker's refusal would leave a gap in the sequence numbers: they are taken back."""
    where = TopicPartition(kafka.create_topic(unique, partitions=1), 0)
    producer = await real.producer()
    assert (await producer.send(where, records(b"warm"))).verdict is Verdict.WRITTEN
    large = await producer.send(where, records(b"x" * 1_048_576))
    assert (large.taken, large.verdict) == (1, Verdict.TOO_LARGE)
    assert (await producer.send(where, records(b"next"))).verdict is Verdict.WRITTEN
    assert producer.contact().rebuilds == 0


async def test_a_compacted_topic_refuses_what_has_no_key(real: Bench, kafka: Cluster, unique: str) -> None:
    compacted = {"cleanup.policy": "compact"}
    where = TopicPartition(kafka.create_topic(unique, partitions=1, config=compacted), 0)
    producer = await real.producer()
    refused = await producer.send(where, records(b"a", b"b", b"c"))
    assert (refused.taken, refused.verdict) == (1, Verdict.REFUSED)
    assert "none without a key" in refused.reason


async def test_subscribing_to_a_topic_with_a_typo_does_not_make_it(
    real: Bench, kafka: Cluster, unique: str
) -> None:
    reader = await real.reader(f"{unique}-typo", group=unique)
    await reader.until(lambda: reader.consumer.contact().problem, "a word of the missing topic")
    assert f"{unique}-typo" not in (await asyncio.to_thread(kafka.metadata)).topics


async def test_a_frozen_broker_is_noticed_and_its_thaw_too(real: Bench, kafka: Cluster, unique: str) -> None:
    """Sockets stay open and nothing is refused: only silence tells."""
    topic = kafka.create_topic(unique, partitions=1)
    producer = await real.producer()
    assert (await producer.send(TopicPartition(topic, 0), records(b"a"))).verdict is Verdict.WRITTEN
    await asyncio.to_thread(kafka.brokers[0].pause)
    await eventually(lambda: producer.contact().problem, 20, "a word of the silence")
    await asyncio.to_thread(kafka.brokers[0].resume)
    await eventually(lambda: producer.contact().problem is None, 20, "a word of the thaw")
    assert (await producer.send(TopicPartition(topic, 0), records(b"b"))).verdict is Verdict.WRITTEN
