"""Commits on the wire bench: one attempt each, an honest outcome, and never one that comes late."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome
from tests.conftest import KafkaWith
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench, Reader

FIRST = TopicPartition("orders", 0)

(
    UNKNOWN_SERVER_ERROR,
    UNKNOWN_TOPIC,
    REQUEST_TIMED_OUT,
    METADATA_TOO_LARGE,
    LOADING,
    NO_COORDINATOR,
    NOT_COORDINATOR,
    ILLEGAL_GENERATION,
    UNKNOWN_MEMBER,
    REBALANCING,
    INVALID_SIZE,
    NO_RIGHT_ON_TOPIC,
    NO_RIGHT_ON_GROUP,
) = (-1, 3, 7, 12, 14, 15, 16, 22, 25, 27, 28, 29, 30)


@pytest.fixture
async def reader(bench: Bench) -> Reader:
    """One that has read a single record."""
    await bench.write(b"a")
    reader = await bench.reader()
    await reader.read(1)
    return reader


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (UNKNOWN_MEMBER, CommitOutcome.STALE),
        (ILLEGAL_GENERATION, CommitOutcome.STALE),
        (REBALANCING, CommitOutcome.FAILED),
        (LOADING, CommitOutcome.FAILED),
        (NO_COORDINATOR, CommitOutcome.FAILED),
        (NOT_COORDINATOR, CommitOutcome.FAILED),
        (UNKNOWN_TOPIC, CommitOutcome.REFUSED),
        (NO_RIGHT_ON_TOPIC, CommitOutcome.REFUSED),
        (NO_RIGHT_ON_GROUP, CommitOutcome.REFUSED),
        (REQUEST_TIMED_OUT, CommitOutcome.UNKNOWN),
        (UNKNOWN_SERVER_ERROR, CommitOutcome.UNKNOWN),
    ],
)
async def test_each_answer_has_its_outcome_and_is_not_tried_again(
    reader: Reader, wire: WireCluster, code: int, outcome: CommitOutcome
) -> None:
    """The engine's own commit would try again for ever, in the name of whoever we are by then."""
    wire.track_requests()
    wire.push_errors(Api.OFFSET_COMMIT, code)
    assert await reader.commit({FIRST: 1}) is outcome
    assert wire.requests().count(Api.OFFSET_COMMIT) == 1


async def test_a_commit_can_be_tried_again_after_it_failed(reader: Reader, wire: WireCluster) -> None:
    wire.push_errors(Api.OFFSET_COMMIT, LOADING)
    assert await reader.commit({FIRST: 1}) is CommitOutcome.FAILED
    assert await reader.commit({FIRST: 1}) is CommitOutcome.COMMITTED


async def test_a_commit_of_another_epoch_is_stale_and_not_sent(reader: Reader, wire: WireCluster) -> None:
    wire.track_requests()
    reader.epoch += 1
    assert await reader.commit({FIRST: 1}) is CommitOutcome.STALE
    assert Api.OFFSET_COMMIT not in wire.requests()


async def test_a_commit_in_the_name_of_a_former_self_is_stale_and_not_sent(
    reader: Reader, wire: WireCluster
) -> None:
    """Without a generation an empty group would take it, and go back to where we were."""
    member = reader.consumer._supervisor.current
    assert member is not None
    wire.track_requests()
    coordinator = member._consumer._coordinator
    generation, coordinator.generation = coordinator.generation, -1
    assert await reader.commit({FIRST: 1}) is CommitOutcome.STALE
    assert Api.OFFSET_COMMIT not in wire.requests()
    coordinator.generation = generation


async def test_a_commit_after_stop_is_stale(reader: Reader, bench: Bench) -> None:
    await reader.consumer.stop(bench.clock.now() + 2)
    assert await reader.commit({FIRST: 1}) is CommitOutcome.STALE


async def test_a_commit_without_an_answer_is_unknown_at_its_deadline(
    reader: Reader, wire: WireCluster, bench: Bench
) -> None:
    wire.round_trip(400)
    began = bench.clock.now()
    assert await reader.commit({FIRST: 1}, seconds=0.1) is CommitOutcome.UNKNOWN
    assert bench.clock.now() - began < 0.3
    wire.round_trip(0)
    assert await reader.commit({FIRST: 1}) is CommitOutcome.COMMITTED


async def test_a_commit_that_was_not_sent_by_its_deadline_is_never_sent(
    reader: Reader, wire: WireCluster, bench: Bench
) -> None:
    """A later one may have been stored meanwhile, perhaps by the next owner."""
    wire.down()
    outcomes = [await reader.commit({FIRST: 1}, seconds=0.1) for _ in range(3)]
    assert CommitOutcome.COMMITTED not in outcomes
    wire.track_requests()
    wire.up()
    await reader.until(lambda: Api.HEARTBEAT in wire.requests(), "a heartbeat")
    await reader.until(lambda: reader.consumer.contact().problem is None, "contact")
    assert Api.OFFSET_COMMIT not in wire.requests()
    assert await reader.commit({FIRST: 1}) is CommitOutcome.COMMITTED


@pytest.mark.kafka
@pytest.mark.parametrize(("takes", "marked"), [(120, True), (30, False)])
async def test_a_broker_that_takes_little_beside_an_offset_stores_the_offset(
    kafka_with: KafkaWith, unique: str, takes: int, marked: bool
) -> None:
    cluster = kafka_with({"offset.metadata.max.bytes": str(takes)})
    topic = cluster.create_topic(unique, partitions=2)
    bench = Bench(cluster.bootstrap, real=True)
    try:
        reader = await bench.reader(topic, group=unique)
        await reader.until(lambda: len(reader.listener.held) == 2, "an assignment")
        where = TopicPartition(topic, 0)
        for offset in (0, 0):
            outcomes = await reader.outcomes({where: offset}, metadata="r" * 1000)
            assert outcomes == {where: CommitOutcome.COMMITTED}
        holding = reader.consumer._ownership.holding
        assert holding is not None
        stored = (await holding.member.committed([where]))[where]
        assert stored.offset == 0
        assert stored.metadata.startswith("|topic:") is marked
    finally:
        await bench.close()
