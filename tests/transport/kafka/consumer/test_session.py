"""A member that its group does not hear lets go in time, for another may be given what it holds."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Position
from convex_messaging_fastapi.transport.kafka.engine import Member
from convex_messaging_fastapi.transport.kafka.offsets.ownership import LOST
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench, Reader

FIRST = TopicPartition("orders", 0)
COORDINATOR_NOT_AVAILABLE = 15


async def at_work(bench: Bench) -> Reader:
    await bench.write(b"a", b"b")
    reader = await bench.reader()
    await reader.read(2)
    await reader.commit({FIRST: 1})
    return reader


async def test_a_member_without_an_answer_for_a_session_lets_go_before_anybody_tells_it(
    bench: Bench, wire: WireCluster
) -> None:
    reader = await at_work(bench)
    first = reader.epoch
    wire.push_errors(Api.HEARTBEAT, *[COORDINATOR_NOT_AVAILABLE] * 1000)
    await reader.until(lambda: reader.listener.revocations, "the end of the assignment")
    assert reader.listener.revocations == [(first, LOST)]
    assert await reader.commit({FIRST: 2}) is CommitOutcome.STALE
    wire.clear_errors(Api.HEARTBEAT)
    await reader.until(lambda: len(reader.listener.assignments) > 1, "another assignment")
    assert reader.epoch > first
    assert reader.listener.held[FIRST] == Position(1)
    assert reader.consumer.contact().rebuilds == 0


async def test_a_member_that_was_heard_all_the_same_comes_back_as_another(
    bench: Bench, wire: WireCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a coordinator's successor grants a new session: what is under way from before is refused."""
    reader = await at_work(bench)
    first, member = reader.epoch, _member(reader)
    wire.track_requests()
    with monkeypatch.context() as silence:
        silence.setattr(Member, "seconds_since_heartbeat", lambda member: 3600.0)
        await reader.until(lambda: reader.listener.revocations, "the end of the assignment")
        assert reader.listener.revocations == [(first, LOST)]
    await reader.until(lambda: len(reader.listener.assignments) > 1, "another assignment")
    assert reader.listener.held[FIRST] == Position(1)
    assert _member(reader) is member
    asked = set(wire.requests())
    assert {Api.LEAVE_GROUP, Api.JOIN_GROUP} <= asked, "the one he was has left"
    assert not list(reader.consumer._history.ghosts)
    await reader.read(3)
    assert [record.value for record in reader.records] == [b"a", b"b", b"b"]


async def test_a_member_that_is_heard_keeps_what_it_holds(bench: Bench) -> None:
    reader = await at_work(bench)
    member = _member(reader)
    heard_at = bench.clock.now() - member.seconds_since_heartbeat()
    await reader.until(
        lambda: bench.clock.now() - member.seconds_since_heartbeat() > heard_at + 0.1, "a heartbeat"
    )
    assert member.seconds_since_heartbeat() < 2
    assert reader.listener.revocations == []


def _member(reader: Reader) -> Member:
    member = reader.consumer._supervisor.current
    assert member is not None
    return member
