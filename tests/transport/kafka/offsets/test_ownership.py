"""The gate for records and commits, without an engine."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine import Identity
from convex_messaging_fastapi.transport.kafka.offsets.ownership import (
    LOST,
    EngineListener,
    Holding,
    Ownership,
)
from tests.transport.kafka.bench import Listener

WHERE = TopicPartition("orders", 0)


class FakeMember:
    identity = Identity(3, "m")


class Gate:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.listener = Listener()
        self.ownership = Ownership(self.clock, 5)
        self.ownership.listen(self.listener)
        self.member = FakeMember()
        self.taken: list[Holding] = []
        self.engine = EngineListener(self.ownership, self.member, self.taken.append)  # type: ignore[arg-type]

    def open(self) -> Holding:
        self.engine.on_partitions_assigned([("orders", 0)])
        self.ownership.announce(self.taken[-1], {WHERE: Position(7)})
        return self.taken[-1]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_nothing_is_told_before_the_start_positions_are_known(gate: Gate) -> None:
    gate.engine.on_partitions_assigned([("orders", 0)])
    (holding,) = gate.taken
    assert holding.partitions == {WHERE}
    assert not holding.open
    assert gate.listener.assignments == []


def test_each_assignment_has_an_epoch_of_its_own(gate: Gate) -> None:
    assert gate.open().epoch < gate.open().epoch


async def test_a_revocation_gives_the_listener_its_drain(gate: Gate) -> None:
    holding = gate.open()
    seen = []

    async def look(epoch: int, deadline: float) -> None:
        seen.append((holding.open, holding.over))

    gate.listener.on_revoked = look
    await gate.engine.on_partitions_revoked([])
    assert gate.listener.revocations == [(holding.epoch, 5.0)]
    assert seen == [(False, False)], "no more records, but commits are taken"
    assert holding.over
    assert gate.ownership.holding is None


async def test_a_member_that_is_no_longer_itself_has_lost_what_it_held(gate: Gate) -> None:
    gate.open()
    gate.member.identity = Identity(-1, "")
    await gate.engine.on_partitions_revoked([])
    assert [deadline for _, deadline in gate.listener.revocations] == [LOST]


async def test_what_was_never_told_is_not_revoked(gate: Gate) -> None:
    gate.engine.on_partitions_assigned([("orders", 0)])
    await gate.engine.on_partitions_revoked([])
    assert gate.listener.revocations == []
    assert gate.taken[0].over


async def test_the_listener_is_told_one_thing_at_a_time(gate: Gate) -> None:
    """A member may be replaced while the group is taking its partitions away."""
    gate.open()
    drained = asyncio.Event()
    gate.listener.on_revoked = lambda *_: drained.wait()
    by_the_group = asyncio.ensure_future(gate.engine.on_partitions_revoked([]))
    await asyncio.sleep(0)
    by_us = asyncio.ensure_future(gate.ownership.release(lost=True))
    await asyncio.sleep(0)
    drained.set()
    await by_the_group
    assert await by_us is None
    assert len(gate.listener.revocations) == 1


async def test_a_listener_that_raises_closes_the_gate_all_the_same(gate: Gate) -> None:
    holding = gate.open()

    async def fail(epoch: int, deadline: float) -> None:
        raise ZeroDivisionError

    gate.listener.on_revoked = fail
    await gate.engine.on_partitions_revoked([])
    assert holding.over
    assert gate.ownership.holding is None


async def test_a_rebalance_that_ends_while_stopping_reopens_nothing(gate: Gate) -> None:
    holding = gate.open()
    gate.ownership.stop()
    gate.engine.on_partitions_assigned([("orders", 0)])
    assert gate.ownership.holding is None
    assert holding.over
    assert len(gate.taken) == 1


async def test_another_members_revocation_changes_nothing(gate: Gate) -> None:
    holding = gate.open()
    stranger = EngineListener(gate.ownership, FakeMember(), gate.taken.append)  # type: ignore[arg-type]
    await stranger.on_partitions_revoked([])
    assert holding.open


async def test_a_member_that_was_given_up_takes_nothing_any_more(gate: Gate) -> None:
    """Its end lets a rebalance finish; its successor may hold partitions by then."""
    mine = gate.open()
    gate.engine.gone = True

    gate.engine.on_partitions_assigned([("orders", 0)])

    assert gate.taken == [mine]
    assert gate.ownership.holding is mine
