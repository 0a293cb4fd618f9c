"""A member follows its group: it lets go, waits, is lost and comes back, on a clock turned by hand."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, CommitOutcome, Fetched, Position, Problem
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport
from convex_messaging_fastapi.transport.memory.consumer import MemoryConsumer
from tests.transport.memory.bench import NOTHING, Listener, turns, write

ORDERS = [TopicPartition("orders", number) for number in range(4)]


async def joined(transport: MemoryTransport, *topics: str) -> tuple[MemoryConsumer, Listener]:
    consumer, listener = transport.consumer("billing"), Listener()
    await consumer.start(topics or ["orders"], listener)
    return consumer, listener


async def test_data_never_waits_for_time(transport: MemoryTransport) -> None:
    consumer, _ = await joined(transport)
    await consumer.fetch(NOTHING, 0)
    fetching = asyncio.create_task(consumer.fetch({ORDERS[1]: 10}, 60))
    await turns()
    assert not fetching.done()
    await write(transport, "orders", 1, b"x")
    assert [record.value for record in (await fetching).records[ORDERS[1]]] == [b"x"]


async def test_a_fetch_with_nothing_to_bring_ends_when_its_wait_has_passed(
    transport: MemoryTransport, clock: ManualClock
) -> None:
    consumer, _ = await joined(transport)
    await consumer.fetch(NOTHING, 0)
    fetching = asyncio.create_task(consumer.fetch({ORDERS[1]: 10}, 60))
    await turns()
    await write(transport, "orders", 0, b"not wanted")
    clock.advance(59.9)
    await turns()
    assert not fetching.done()
    clock.advance(0.1)
    assert (await fetching).records == {}


async def test_a_rebalance_needs_no_time_either(transport: MemoryTransport, clock: ManualClock) -> None:
    first, one = await joined(transport)
    await first.fetch(NOTHING, 0)
    waiting = asyncio.create_task(first.fetch(NOTHING, 60))
    await turns()
    second, two = await joined(transport)
    joining = asyncio.create_task(second.fetch(NOTHING, 60))
    await turns()
    assert one.revocations == [(1, clock.now() + 5)]
    assert [epoch for epoch, _ in one.assignments] == [1, 2]
    assert set(one.assignments[-1][1]) == set(ORDERS[:2])
    assert set(two.assignments[-1][1]) == set(ORDERS[2:])
    assert (await waiting).records == (await joining).records == {}


async def test_a_member_that_does_not_let_go_in_time_is_lost(
    transport: MemoryTransport, clock: ManualClock
) -> None:
    """The others go on without it, its commits are stale, and it is told when it comes back."""
    silent, told = await joined(transport)
    await silent.fetch(NOTHING, 0)
    other, others = await joined(transport)
    joining = asyncio.create_task(other.fetch(NOTHING, 60))
    await turns()
    clock.advance(14.9)
    await turns()
    assert others.assignments == []
    assert await silent.commit(1, {ORDERS[0]: Position(1)}, 60) == {ORDERS[0]: CommitOutcome.COMMITTED}
    clock.advance(0.1)
    await turns()
    assert set(others.assignments[0][1]) == set(ORDERS)
    assert others.assignments[0][1][ORDERS[0]] == Position(1)
    assert await silent.commit(1, {ORDERS[0]: Position(2)}, 60) == {ORDERS[0]: CommitOutcome.STALE}
    back = asyncio.create_task(silent.fetch(NOTHING, 60))
    await turns()
    assert [epoch for epoch, _ in told.revocations] == [1]
    assert told.revocations[0][1] < clock.now()
    assert set(told.assignments[-1][1]) | set(others.assignments[-1][1]) == set(ORDERS)
    await other.stop(0)
    await silent.stop(0)
    await asyncio.gather(joining, back)


async def test_a_drain_that_outlasts_the_group_finds_its_commit_stale(
    transport: MemoryTransport, clock: ManualClock
) -> None:
    slow, told = await joined(transport)
    release = asyncio.Event()
    told.on_revoked = release.wait
    await slow.fetch(NOTHING, 0)
    other, others = await joined(transport)
    draining = asyncio.create_task(slow.fetch(NOTHING, 60))
    waiting = asyncio.create_task(other.fetch(NOTHING, 60))
    await turns()
    clock.advance(15)
    await waiting
    assert set(others.assignments[-1][1]) == set(ORDERS)
    assert await slow.commit(1, {ORDERS[0]: Position(1)}, 60) == {ORDERS[0]: CommitOutcome.STALE}
    release.set()
    await other.fetch(NOTHING, 0)
    await draining
    assert told.revocations == [(1, 5)]
    assert [epoch for epoch, _ in told.assignments] == [1, 3]


async def test_the_partitions_of_a_member_that_died_are_taken_over_when_its_session_ends(
    transport: MemoryTransport, clock: ManualClock
) -> None:
    dead, _ = await joined(transport)
    here, told = await joined(transport)
    for member in (dead, here, dead):
        await member.fetch(NOTHING, 0)
    waiting = asyncio.create_task(here.fetch(NOTHING, 60))
    await turns()
    assert len(told.assignments[-1][1]) == 2
    clock.advance(30)
    await turns()
    assert len(told.assignments[-1][1]) == 4
    await here.stop(0)
    await waiting


async def test_a_member_inside_a_fetch_is_alive_however_long_it_waits(
    transport: MemoryTransport, clock: ManualClock
) -> None:
    members = [await joined(transport), await joined(transport)]
    fetches = [asyncio.create_task(member.fetch(NOTHING, 1000)) for member, _ in members]
    await turns()
    clock.advance(999)
    await turns()
    assert [listener.revocations for _, listener in members] == [[], []]
    assert [len(positions) for _, told in members for _, positions in told.assignments] == [2, 2]
    for member, _ in members:
        await member.stop(0)
    await asyncio.gather(*fetches)


async def test_a_revocation_that_was_cancelled_is_not_told_twice(transport: MemoryTransport) -> None:
    consumer, told = await joined(transport)
    told.on_revoked = asyncio.Event().wait
    await consumer.fetch(NOTHING, 0)
    other, _ = await joined(transport)
    fetching = asyncio.create_task(consumer.fetch(NOTHING, 60))
    await turns()
    fetching.cancel()
    await turns()
    assert fetching.cancelled()
    await consumer.fetch(NOTHING, 0)
    assert told.revocations == [(1, 5)]
    await other.fetch(NOTHING, 0)


async def test_a_stop_during_a_revocation_does_not_join_again(
    transport: MemoryTransport, broker: MemoryBroker
) -> None:
    consumer, told = await joined(transport)
    release = asyncio.Event()
    told.on_revoked = release.wait
    await consumer.fetch(NOTHING, 0)
    other, others = await joined(transport)
    fetching = asyncio.create_task(consumer.fetch(NOTHING, 60))
    await turns()
    await consumer.stop(0)
    release.set()
    assert (await fetching).records == {}
    await other.fetch(NOTHING, 0)
    assert set(others.assignments[-1][1]) == set(ORDERS)
    assert (await consumer.fetch({ORDERS[0]: 1}, 60)).records == {}


async def test_while_the_broker_is_down_nothing_comes_and_nothing_is_stored(
    transport: MemoryTransport, broker: MemoryBroker, clock: ManualClock
) -> None:
    consumer, told = await joined(transport)
    await consumer.fetch(NOTHING, 0)
    await write(transport, "orders", 0, b"x")
    broker.down()
    fetching = asyncio.create_task(consumer.fetch({ORDERS[0]: 10}, 1))
    await turns()
    clock.advance(1)
    assert await fetching == Fetched(1, {}, {})
    assert await consumer.commit(1, {ORDERS[0]: Position(1)}, 60) == {ORDERS[0]: CommitOutcome.FAILED}
    assert consumer.contact().problem is Problem.BROKER_UNREACHABLE
    waiting = asyncio.create_task(consumer.fetch({ORDERS[0]: 10}, 60))
    await turns()
    assert not waiting.done()
    broker.up()
    assert [record.value for record in (await waiting).records[ORDERS[0]]] == [b"x"]
    assert await consumer.commit(1, {ORDERS[0]: Position(1)}, 60) == {ORDERS[0]: CommitOutcome.COMMITTED}
    assert told.revocations == []


async def test_a_member_is_one_from_its_first_assignment_on(transport: MemoryTransport) -> None:
    consumer, _ = await joined(transport)
    assert not consumer.contact().member
    await consumer.fetch(NOTHING, 0)
    assert consumer.contact().member


async def test_contact_says_which_topics_can_never_be(
    transport: MemoryTransport, broker: MemoryBroker
) -> None:
    consumer, told = await joined(transport, "orders", "no spaces")
    await consumer.fetch(NOTHING, 0)
    assert set(told.assignments[-1][1]) == set(ORDERS)
    contact = consumer.contact()
    assert (contact.member, contact.problem) == (True, Problem.TOPIC_MISSING)
    assert "no spaces" in contact.detail
    broker.down()
    assert consumer.contact().problem is Problem.BROKER_UNREACHABLE


async def test_a_member_that_stops_while_it_hears_of_its_loss_does_not_join_again(
    transport: MemoryTransport, clock: ManualClock
) -> None:
    lost, told = await joined(transport)
    await lost.fetch(NOTHING, 0)
    other, others = await joined(transport)
    waiting = asyncio.create_task(other.fetch(NOTHING, 60))
    await turns()
    clock.advance(15)
    await waiting
    told.on_revoked = lambda: lost.stop(0)
    assert (await lost.fetch(NOTHING, 60)).records == {}
    await other.fetch(NOTHING, 0)
    assert [len(positions) for _, positions in others.assignments] == [4]


async def test_a_member_that_lacks_nothing_still_gives_others_a_turn(transport: MemoryTransport) -> None:
    consumer, _ = await joined(transport)
    await consumer.fetch(NOTHING, 0)
    await write(transport, "orders", 0, *[b"x"] * 10)
    turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    assert (await consumer.fetch({ORDERS[0]: 1}, 0)).records
    assert turn.is_set()


async def test_a_fetch_that_has_enough_looks_no_further(transport: MemoryTransport) -> None:
    consumer, _ = await joined(transport)
    await consumer.fetch(NOTHING, 0)
    for partition in range(3):
        await write(transport, "orders", partition, *[b"x"] * (ENOUGH_RECORDS // 2))
    want = dict.fromkeys(ORDERS, ENOUGH_RECORDS)

    assert list((await consumer.fetch(want, 0)).records) == ORDERS[:2]
    assert list((await consumer.fetch(want, 0)).records) == ORDERS[2:3]


async def test_a_fetch_returns_with_an_assignment_so_that_its_partitions_can_be_wanted(
    transport: MemoryTransport,
) -> None:
    await write(transport, "orders", 0, b"x")
    consumer, told = await joined(transport)
    assert await consumer.fetch(NOTHING, 60) == Fetched(1, {}, {})
    assert set(told.assignments[-1][1]) == set(ORDERS)
    assert (await consumer.fetch({ORDERS[0]: 1}, 60)).positions == {ORDERS[0]: 1}


async def test_a_consumer_that_was_stopped_may_start_again(transport: MemoryTransport) -> None:
    consumer, _ = await joined(transport)
    await consumer.fetch(NOTHING, 0)
    await consumer.stop(0)
    assert not consumer.contact().member
    again = Listener()
    await consumer.start(["orders"], again)
    await consumer.fetch(NOTHING, 0)
    assert set(again.assignments[-1][1]) == set(ORDERS)


async def test_a_consumer_may_be_stopped_before_it_starts_and_twice(transport: MemoryTransport) -> None:
    consumer = transport.consumer("billing")
    await consumer.stop(0)
    assert await consumer.commit(1, {ORDERS[0]: Position(1)}, 0) == {ORDERS[0]: CommitOutcome.STALE}
    await consumer.start(["orders"], Listener())
    await consumer.stop(0)
    await consumer.stop(0)


async def test_an_optional_topic_is_read_from_its_beginning_also_by_a_group_that_begins_at_the_end(
    clock: ManualClock,
) -> None:
    transport = MemoryTransport(MemoryBroker(clock), auto_offset_reset="latest")
    replays = TopicPartition("replays", 0)
    for where in (ORDERS[0], replays):
        await write(transport, *where, b"x")
    consumer, listener = transport.consumer("billing"), Listener()
    await consumer.start(["orders"], listener, ["replays"])
    await consumer.fetch(NOTHING, 0)
    [(_, positions)] = listener.assignments
    assert (positions[ORDERS[0]].offset, positions[replays].offset) == (1, 0)
