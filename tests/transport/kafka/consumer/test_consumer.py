"""The consumer on the wire bench: assignments, fair shares, and fetches that lose nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, CommitOutcome, Fetched, Position, Problem
from convex_messaging_fastapi.transport.kafka.engine import Member, partition_reader
from convex_messaging_fastapi.transport.kafka.offsets.ownership import LOST
from tests.support.waiting import eventually
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import SECONDS, Bench, Reader

FIRST, SECOND = TopicPartition("orders", 0), TopicPartition("orders", 1)

UNKNOWN_TOPIC, TOPIC_AUTHORIZATION_FAILED, GROUP_AUTHORIZATION_FAILED = 3, 29, 30
FENCED_INSTANCE, UNKNOWN_MEMBER = 82, 25


async def test_partitions_are_assigned_before_the_first_record_is_delivered(bench: Bench) -> None:
    await bench.write(b"a", b"b")
    reader = await bench.reader()
    while not (fetched := await reader.fetch()).records:
        pass
    assert reader.listener.assignments == [(fetched.epoch, {FIRST: Position(0), SECOND: Position(0)})]
    assert [record.value for record in reader.records] == [b"a", b"b"]
    assert fetched.positions == {FIRST: 2}
    assert reader.consumer.contact().member


async def test_the_next_member_goes_on_where_the_group_committed(bench: Bench) -> None:
    await bench.write(b"a", b"b", b"c")
    reader = await bench.reader()
    await reader.read(3)
    done = {FIRST: Position(2, "1-2,5")}
    outcomes = await reader.consumer.commit(reader.epoch, done, bench.clock.now() + 2)
    assert outcomes == {FIRST: CommitOutcome.COMMITTED}
    await reader.consumer.stop(bench.clock.now() + 2)
    successor = await bench.reader()
    assert await successor.read(1) == [b"c"]
    assert successor.listener.held[FIRST] == Position(2, "1-2,5", end=3)


async def test_latest_begins_at_the_end_where_nothing_was_committed(bench: Bench) -> None:
    await bench.write(b"old")
    reader = await bench.reader(auto_offset_reset="latest")
    await reader.until(lambda: reader.listener.held, "an assignment")
    assert reader.listener.held[FIRST] == Position(1)
    await bench.write(b"new")
    assert await reader.read(1) == [b"new"]


async def test_each_partition_gets_its_share_and_no_more(bench: Bench) -> None:
    await bench.write(*[b"a"] * 5)
    await bench.write(*[b"b"] * 5, partition=1)
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    fetches: list[Fetched] = []
    while len(reader.records) < 10:
        fetches.append(await reader.fetch(share=2))
    assert max(len(batch) for fetched in fetches for batch in fetched.records.values()) == 2
    offsets = [record.offset for record in reader.records if record.partition == 0]
    assert offsets == [0, 1, 2, 3, 4]


async def test_a_fetch_that_has_enough_looks_no_further(bench: Bench) -> None:
    await bench.write(*[b"a"] * ENOUGH_RECORDS)
    await bench.write(*[b"b"] * ENOUGH_RECORDS, partition=1)
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    fetches: list[Fetched] = []
    while len(reader.records) < 2 * ENOUGH_RECORDS:
        fetches.append(await reader.fetch(share=ENOUGH_RECORDS))
    assert max(sum(map(len, fetched.records.values())) for fetched in fetches) < 2 * ENOUGH_RECORDS


async def test_what_is_not_wanted_is_kept_for_later(bench: Bench, wire: WireCluster) -> None:
    await bench.write(b"a", b"b")
    await bench.write(b"c", partition=1)
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    fetched = Fetched(0, {}, {})
    while not fetched.records:
        fetched = await reader.consumer.fetch({SECOND: 10, FIRST: 0}, 0.1)
    assert set(fetched.records) == {SECOND}
    wire.track_requests()
    fetched = await reader.consumer.fetch({FIRST: 10}, 5)
    assert [record.value for record in fetched.records[FIRST]] == [b"a", b"b"]


async def test_with_nothing_wanted_a_fetch_ends_in_time_and_brings_nothing(bench: Bench) -> None:
    await bench.write(b"a")
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    began = bench.clock.now()
    fetched = await reader.consumer.fetch({}, 0.2)
    assert 0.19 < bench.clock.now() - began < 1
    assert (fetched.records, fetched.positions) == ({}, {})


def looks_of(monkeypatch: pytest.MonkeyPatch) -> list[TopicPartition]:
    """The partitions at which fetches look from now on."""
    looks: list[TopicPartition] = []
    has_data = Member.has_data

    def look(self: Member, where: TopicPartition) -> bool:
        looks.append(where)
        return has_data(self, where)

    monkeypatch.setattr(Member, "has_data", look)
    return looks


@pytest.mark.parametrize("after", ["the word of an assignment", "an assignment, before the word of it"])
async def test_an_idle_fetch_sleeps(bench: Bench, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    """Waking itself up it would take a whole processor, idle or in an outage.

    It looks when it begins and when its time is over. An assignment may wake it twice more: when it is given,
    and when it is known where reading starts. Whoever fetches in that very turn of the loop begins to read at
    once, and the word of it wakes his next fetch.
    """
    reader = await bench.reader()
    if after == "the word of an assignment":
        await reader.until(lambda: reader.listener.held, "an assignment")
        await asyncio.sleep(0)
    while not reader.listener.held:
        await asyncio.sleep(0)
        await reader.fetch(wait=0)
    looks, fetches = looks_of(monkeypatch), 3
    for _ in range(fetches):
        await reader.fetch(wait=0.1)
    assert len(looks) <= 2 * (fetches + len(reader.listener.assignments)) * len(reader.listener.held)


async def test_a_cancelled_fetch_loses_nothing(bench: Bench) -> None:
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    for _ in range(5):
        fetching = asyncio.ensure_future(reader.fetch(wait=5))
        await asyncio.sleep(0)
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
    await bench.write(b"a", b"b")
    assert await reader.read(2) == [b"a", b"b"]


async def test_a_partition_that_cannot_be_read_costs_no_record_of_any(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine raises in the middle of a batch: all is read again from what was delivered."""
    await bench.write(b"a", b"b", b"poison", b"d")
    await bench.write(b"e", b"f", partition=1)
    failures = _fail_on(monkeypatch, b"poison", times=3)
    reader = await bench.reader()
    await reader.read(6)
    values = {p: [r.value for r in reader.records if r.partition == p] for p in (0, 1)}
    assert values == {0: [b"a", b"b", b"poison", b"d"], 1: [b"e", b"f"]}
    assert not failures


async def test_other_partitions_go_on_while_one_cannot_be_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.write(b"poison")
    await bench.write(b"a", partition=1)
    _fail_on(monkeypatch, b"poison", times=1_000_000)
    reader = await bench.reader()
    assert await reader.read(1) == [b"a"]
    await bench.write(b"b", partition=1)
    assert await reader.read(2) == [b"a", b"b"]
    await reader.until(lambda: reader.consumer.contact().problem, "a word of the partition")
    contact = reader.consumer.contact()
    assert contact.problem is Problem.UNREADABLE
    assert "orders/0 at 0" in contact.detail
    assert "to skip this batch, stop the group and set its offset to 1" in contact.detail
    assert contact.rebuilds == 0


async def test_what_stands_before_a_batch_that_cannot_be_read_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though one fetch brings both."""
    await bench.write(b"a", b"b")
    await bench.write(b"c", b"poison")
    _fail_on(monkeypatch, b"poison", times=1_000_000)
    reader = await bench.reader()
    assert await reader.read(2) == [b"a", b"b"]
    await reader.until(lambda: reader.consumer.contact().problem, "a word of the partition")
    assert "orders/0 at 2" in reader.consumer.contact().detail
    assert reader.positions[FIRST] == 2


async def test_records_that_retention_took_are_passed_and_said_aloud(
    bench: Bench, wire: WireCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Also under `latest`: what is left in the log is still unread."""
    await bench.write(b"a")
    await bench.write(b"b", b"c")
    await bench.write(b"d")
    reader = await bench.reader(auto_offset_reset="latest")
    await reader.until(lambda: reader.listener.held, "an assignment")
    await reader.commit({FIRST: 1})
    await reader.consumer.stop(bench.clock.now() + 2)
    wire.delete_records("orders", 0, 3)
    successor = await bench.reader(auto_offset_reset="latest")
    assert await successor.read(1) == [b"d"]
    assert successor.listener.held[FIRST] == Position(1)
    assert successor.positions[FIRST] == 4
    assert "2 records are gone before they were read: 1..2" in caplog.text


async def test_an_offset_beyond_the_end_begins_the_log_anew_under_another_epoch(bench: Bench) -> None:
    """The topic was made anew: its records are unread, and offsets of one epoch only grow."""
    await bench.write(b"a", b"b")
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    await reader.commit({FIRST: 50, SECOND: 0})
    await reader.consumer.stop(bench.clock.now() + 2)
    successor = await bench.reader()
    assert await successor.read(2) == [b"a", b"b"]
    (first, before), (second, after) = successor.listener.assignments
    assert (before[FIRST], after[FIRST]) == (Position(50), Position(0))
    assert second > first
    assert [epoch for epoch, _ in successor.listener.revocations] == [first]


async def test_a_coordinator_that_does_not_know_the_topic_yet_is_asked_again(
    bench: Bench, wire: WireCluster
) -> None:
    """The engine takes that answer for "nothing committed" and goes to the end of the log."""
    await bench.write(b"a", b"b", b"c")
    reader = await bench.reader()
    await reader.read(3)
    await reader.commit({FIRST: 2})
    await reader.consumer.stop(bench.clock.now() + 2)
    wire.push_errors(Api.OFFSET_FETCH, UNKNOWN_TOPIC, UNKNOWN_TOPIC, UNKNOWN_TOPIC)
    successor = await bench.reader(auto_offset_reset="latest")
    assert await successor.read(1) == [b"c"]
    assert successor.listener.held[FIRST] == Position(2)


@pytest.mark.parametrize("code", [FENCED_INSTANCE, GROUP_AUTHORIZATION_FAILED])
async def test_a_member_whose_heartbeats_died_is_replaced(bench: Bench, wire: WireCluster, code: int) -> None:
    await bench.write(b"a")
    reader = await bench.reader()
    await reader.read(1)
    first = reader.epoch
    wire.push_errors(Api.HEARTBEAT, *[code] * 4)
    await reader.until(lambda: reader.consumer.contact().rebuilds, "another member")
    await reader.until(lambda: len(reader.listener.assignments) > 1, "another assignment")
    assert reader.listener.revocations == [(first, LOST)]
    await bench.write(b"b")
    await reader.until(lambda: reader.records[-1].value == b"b", "the next record")
    assert reader.epoch > first


async def test_a_member_that_the_group_forgot_loses_its_partitions_and_joins_again(
    bench: Bench, wire: WireCluster
) -> None:
    await bench.write(b"a")
    reader = await bench.reader()
    await reader.read(1)
    first = reader.epoch
    wire.push_errors(Api.HEARTBEAT, UNKNOWN_MEMBER)
    await reader.until(lambda: len(reader.listener.assignments) > 1, "another assignment")
    assert reader.listener.revocations == [(first, LOST)]
    assert reader.consumer.contact().rebuilds == 0


async def test_a_member_that_no_longer_fetches_is_replaced(bench: Bench) -> None:
    """Nobody in the engine looks at that task: heartbeats would hold the partitions for ever."""
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    _engine(reader)._fetcher._fetch_task.cancel()
    await reader.until(lambda: len(reader.listener.assignments) > 1, "another assignment")
    await bench.write(b"a")
    assert await reader.read(1) == [b"a"]
    assert reader.consumer.contact().rebuilds == 1


async def test_a_connection_that_broke_a_moment_ago_costs_nobody_the_membership(
    bench: Bench, wire: WireCluster
) -> None:
    """uvloop raises `RuntimeError` for a write to what is closed, which no room of the engine expects."""
    await bench.write(b"a")
    reader = await bench.reader()
    await reader.read(1)

    def write(data: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    broken = list(_engine(reader)._client._conns.values())
    for connection in broken:
        connection._writer.write = write
    _engine(reader)._client.force_metadata_update()
    await reader.until(lambda: not any(conn.connected() for conn in broken), "all to be noticed")
    await bench.write(b"b")
    assert await reader.read(2) == [b"a", b"b"]
    assert reader.consumer.contact().rebuilds == 0
    assert len(reader.listener.assignments) == 1


async def test_a_member_that_stands_still_though_the_log_goes_on_is_replaced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = await bench.reader(tuning={"stuck_after_seconds": 0.3})
    await reader.until(lambda: reader.listener.held, "an assignment")
    first = reader.consumer._supervisor.current
    has_data = Member.has_data
    monkeypatch.setattr(Member, "has_data", lambda self, where: self is not first and has_data(self, where))
    monkeypatch.setattr(Member, "end_seen", lambda self, where: 1)
    await bench.write(b"a")
    assert await reader.read(1) == [b"a"]
    assert reader.consumer.contact().rebuilds == 1


async def test_refused_by_the_group_says_so_and_comes_back_when_let_in(
    bench: Bench, wire: WireCluster
) -> None:
    wire.push_errors(Api.JOIN_GROUP, *[GROUP_AUTHORIZATION_FAILED] * 3)
    reader = await bench.reader()
    await reader.until(
        lambda: reader.consumer.contact().problem is Problem.NOT_AUTHORIZED, "a word of the refusal"
    )
    assert not reader.consumer.contact().member
    await reader.until(lambda: reader.listener.held, "an assignment")


async def test_a_topic_whose_right_comes_back_is_well_though_nobody_writes_to_it(
    bench: Bench, wire: WireCluster
) -> None:
    """An idle partition has no record to be taken, and readiness would wait for one."""
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    wire.push_errors(Api.FETCH, *[TOPIC_AUTHORIZATION_FAILED] * 3)
    await reader.until(
        lambda: reader.consumer.contact().problem is Problem.NOT_AUTHORIZED, "a word of the refusal"
    )
    await reader.until(lambda: reader.consumer.contact().problem is None, "a word of its end")
    assert reader.records == []


async def test_an_outage_is_noticed_and_ends_without_a_new_member(bench: Bench, wire: WireCluster) -> None:
    """The engine answers `{}` all through an outage, as it does on an idle topic."""
    await bench.write(b"a")
    reader = await bench.reader()
    await reader.read(1)
    wire.down()
    await reader.until(
        lambda: reader.consumer.contact().problem is Problem.BROKER_UNREACHABLE, "a word of the outage"
    )
    last = reader.consumer.contact().last
    wire.up()
    await reader.until(lambda: reader.consumer.contact().problem is None, "a word of the recovery")
    assert (reader.consumer.contact().last or 0) > (last or 0)
    await bench.write(b"b")
    assert await reader.read(2) == [b"a", b"b"]
    assert reader.consumer.contact().rebuilds == 0


async def test_stop_is_bounded_with_every_broker_dead(bench: Bench, wire: WireCluster) -> None:
    await bench.write(b"a")
    reader = await bench.reader()
    await reader.read(1)
    wire.down()
    await reader.until(lambda: reader.consumer.contact().problem, "a word of the outage")
    began = bench.clock.now()
    await reader.consumer.stop(began + 1)
    assert bench.clock.now() - began < 1.2


async def test_a_fetch_after_stop_brings_nothing_and_raises_nothing(bench: Bench) -> None:
    await bench.write(b"a")
    reader = await bench.reader()
    await reader.read(1)
    await reader.consumer.stop(bench.clock.now() + 2)
    fetched = await reader.consumer.fetch({FIRST: 10}, 0.05)
    assert (fetched.records, fetched.positions) == ({}, {})
    assert reader.listener.revocations == []


async def test_a_cluster_that_comes_later_is_found(bench: Bench, wire: WireCluster) -> None:
    wire.down()
    reader = await bench.reader()
    await reader.until(
        lambda: reader.consumer.contact().problem is Problem.BROKER_UNREACHABLE, "a failed start"
    )
    assert reader.consumer.contact().last is None
    wire.up()
    await reader.until(lambda: reader.listener.held, "an assignment")


async def test_a_missing_topic_is_named_not_made_and_found_when_it_comes(
    bench: Bench, wire: WireCluster
) -> None:
    reader = await bench.reader("orders", "payments")
    await reader.until(lambda: reader.listener.held, "an assignment")
    await reader.until(lambda: reader.consumer.contact().problem, "a word of the missing topic")
    contact = reader.consumer.contact()
    assert contact.problem is Problem.TOPIC_MISSING
    assert contact.detail == "the cluster does not know payments"
    assert set(reader.listener.held) == {FIRST, SECOND}
    wire.topic("payments")
    await reader.until(lambda: TopicPartition("payments", 0) in reader.listener.held, "the new topic")
    assert reader.consumer.contact().problem is None


async def test_a_member_whose_topic_may_still_come_is_not_called_joined(
    bench: Bench, wire: WireCluster
) -> None:
    """Right after a topic was made, the broker that is asked may not know it yet."""
    reader = await bench.reader("payments")
    await reader.until(lambda: reader.consumer._supervisor.current, "an engine")
    said: list[tuple[bool, Problem | None]] = []

    def is_told_of() -> bool:
        said.append(_said(reader))
        return said[-1][1] is not None

    await reader.until(is_told_of, "a word of the missing topic")
    assert set(said) <= {(False, Problem.CONNECTING), (False, None), (True, Problem.TOPIC_MISSING)}
    wire.topic("payments")
    await reader.until(lambda: reader.listener.held, "the new topic")
    assert _said(reader) == (True, None)


def _said(reader: Reader) -> tuple[bool, Problem | None]:
    contact = reader.consumer.contact()
    return contact.member, contact.problem


async def test_an_idle_member_stays_in_contact(bench: Bench) -> None:
    reader = await bench.reader()
    await reader.until(lambda: reader.listener.held, "an assignment")
    began = bench.clock.now()
    await eventually(lambda: (reader.consumer.contact().last or 0) > began + 1, SECONDS, "a fresh answer")


def _fail_on(monkeypatch: pytest.MonkeyPatch, value: bytes, times: int) -> list[int]:
    """Let the engine fail so many times on unpacking a record with this value; what is left."""
    left = list(range(times))
    unpack = partition_reader._record

    def failing(where: Any, record: Any) -> Any:
        if left and bytes(record.value) == value:
            left.pop()
            raise ValueError("cannot be unpacked")
        return unpack(where, record)

    monkeypatch.setattr(partition_reader, "_record", failing)
    return left


def _engine(reader: Reader) -> Any:
    member = reader.consumer._supervisor.current
    assert member is not None
    return member._consumer
