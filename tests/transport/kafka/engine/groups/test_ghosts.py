"""Whoever comes back as another tells his group that the one he was has left: nobody waits for that one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.engine import Ghosts, Member
from convex_messaging_fastapi.transport.kafka.engine.connections.client import Connection
from convex_messaging_fastapi.transport.kafka.engine.groups.ghosts import REMEMBERED
from tests.conftest import KafkaWith
from tests.support.independent import Independent
from tests.support.waiting import pass_time
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench, Listener, Reader
from tools.kafka.cluster import Cluster

NOT_COORDINATOR, LOADING, NO_COORDINATOR, UNKNOWN_MEMBER = 16, 14, 15, 25
SESSION_SECONDS = 6.0
IN_TIME = 3.0


def member_of(reader: Reader) -> Member:
    member = reader.consumer._supervisor.current
    assert member is not None
    return member


async def joined_anew(reader: Reader) -> None:
    assignments = len(reader.listener.assignments)
    await reader.until(lambda: len(reader.listener.assignments) > assignments, "another assignment")


@pytest.fixture
async def reader(bench: Bench) -> Reader:
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    return reader


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Questions to join and to leave, in the order in which they are written to their connections."""
    questions: list[str] = []
    send = Connection.send

    def note(connection: Connection, request: Any, expect_response: bool = True) -> Any:
        answer = send(connection, request, expect_response)
        if isinstance(request, JoinGroupRequest | LeaveGroupRequest):
            questions.append("join" if isinstance(request, JoinGroupRequest) else "leave")
        return answer

    monkeypatch.setattr(Connection, "send", note)
    return questions


@pytest.mark.parametrize(
    ("code", "told"),
    [(0, 1), (UNKNOWN_MEMBER, 1), (NOT_COORDINATOR, 2), (LOADING, 2), (NO_COORDINATOR, 2)],
)
async def test_the_one_he_was_leaves_while_he_waits_to_join(
    reader: Reader, wire: WireCluster, written: list[str], code: int, told: int
) -> None:
    """Not before: an empty group is given time to gather. It is said again until a broker knows of it.

    What is promised is the order in which they are written: the two go by connections of their own, and a
    broker that has had no time for a while may read the second one first.
    """
    written.clear()
    wire.push_errors(Api.LEAVE_GROUP, code)
    before = member_of(reader).identity.member_id
    member_of(reader).rejoin_as_new_member()
    await joined_anew(reader)
    assert written[0] == "join"
    assert written.count("leave") == told
    if code:  # the mock names its members by their addresses, and who has left leaves his free
        assert member_of(reader).identity.member_id != before
    assert not list(reader.consumer._history.ghosts)


async def test_a_member_that_left_is_not_told_of_again(
    reader: Reader, bench: Bench, wire: WireCluster
) -> None:
    wire.track_requests()
    await reader.consumer.stop(bench.clock.now() + 2)
    assert wire.requests().count(Api.LEAVE_GROUP) == 1
    assert not list(reader.consumer._history.ghosts)


async def test_a_member_that_could_not_leave_is_left_by_its_successor(
    bench: Bench, wire: WireCluster
) -> None:
    """Also where another engine takes its place, as after a change of topics."""
    transport = bench.transport()
    first, second = (Reader(transport.consumer("readers"), Listener()) for _ in range(2))
    await first.consumer.start(["orders"], first.listener)
    await first.until(lambda: first.listener.held, "an assignment")
    before = member_of(first).identity.member_id
    wire.down()
    await first.consumer.stop(bench.clock.now() + 0.5)
    assert list(first.consumer._history.ghosts) == [before]
    wire.up()
    wire.track_requests()
    await second.consumer.start(["orders"], second.listener)
    try:
        await second.until(lambda: not list(second.consumer._history.ghosts), "the first to have left")
    finally:
        await second.consumer.stop(bench.clock.now() + 2)
    assert Api.LEAVE_GROUP in wire.requests()


async def test_a_static_member_takes_its_own_place_again(
    bench: Bench, wire: WireCluster, own_locks: None
) -> None:
    reader = await bench.reader(group_instance_id="pod-1")
    await reader.until(lambda: reader.listener.held, "an assignment")
    wire.track_requests()
    member_of(reader).rejoin_as_new_member()
    await joined_anew(reader)
    assert Api.LEAVE_GROUP not in wire.requests()


def test_only_the_latest_are_remembered_and_none_that_has_left() -> None:
    ghosts = Ghosts()
    ghosts.left("gone")
    ghosts.add("gone")
    ghosts.add("")
    assert list(ghosts) == []
    for number in range(REMEMBERED + 5):
        ghosts.add(f"member-{number}")
        ghosts.add(f"member-{number}")
    assert len(list(ghosts)) == REMEMBERED
    ghosts.left(f"member-{REMEMBERED}")
    assert f"member-{REMEMBERED}" not in list(ghosts)


@pytest.fixture
async def real() -> AsyncIterator[list[Bench]]:
    benches: list[Bench] = []
    yield benches
    for bench in benches:
        await bench.close()


async def first_record_after_an_outage(
    real: list[Bench], cluster: Cluster, topic: str, members: int, *, static: bool, killed: bool
) -> float:
    """Seconds from when another client's record was acknowledged to when it was read."""
    where = TopicPartition(cluster.create_topic(topic, partitions=2), 0)
    real.append(bench := Bench(cluster.bootstrap, real=True))
    readers = [
        await bench.reader(
            topic,
            group=topic,
            session_timeout_ms=int(SESSION_SECONDS * 1000),
            group_instance_id=f"{topic}-{number}" if static else None,
        )
        for number in range(members)
    ]

    async def share(reader: Reader) -> None:
        await reader.until(lambda: len(reader.listener.held) == 2 // members, "a share")

    await asyncio.gather(*map(share, readers))
    reading = asyncio.gather(
        *(reader.until(lambda: any(r.records for r in readers), "the record", 90) for reader in readers)
    )
    broker = cluster.brokers[0]
    await asyncio.to_thread(broker.kill if killed else broker.pause)
    await asyncio.to_thread(pass_time, SESSION_SECONDS + 1.5)
    await asyncio.to_thread(cluster.heal)
    await asyncio.to_thread(Independent(cluster.bootstrap).write, where.topic, [b"a"], partition=0)
    acknowledged = bench.clock.now()
    await reading
    return bench.clock.now() - acknowledged


def has_share_each(readers: list[Reader]) -> bool:
    return all(len(reader.listener.held) * len(readers) == 2 for reader in readers)


@pytest.mark.kafka
@pytest.mark.faults
@pytest.mark.parametrize(
    ("members", "static", "killed"),
    [
        (1, False, True),
        (2, False, True),
        (2, True, True),
        (1, False, False),
        (2, False, False),
        (1, True, False),
    ],
)
async def test_after_an_outage_longer_than_a_session_reading_goes_on_at_once(
    real: list[Bench], kafka: Cluster, unique: str, own_locks: None, members: int, static: bool, killed: bool
) -> None:
    took = await first_record_after_an_outage(real, kafka, unique, members, static=static, killed=killed)
    assert took < IN_TIME


@pytest.mark.kafka
@pytest.mark.faults
@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
async def test_a_group_that_waits_for_members_waits_for_none_that_is_gone(
    real: list[Bench], kafka_with: KafkaWith, unique: str, own_locks: None, static: bool
) -> None:
    """As brokers are by default: an empty group is given time to gather."""
    cluster = kafka_with({"group.initial.rebalance.delay.ms": "3000"})
    took = await first_record_after_an_outage(real, cluster, unique, 1, static=static, killed=False)
    assert took < IN_TIME + 3
