"""A pause is heard by a whole fleet, outlasts restarts, loses nothing, and lag tells the truth meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.operations import PartitionLag
from convex_messaging_fastapi.parts import parts_for, transport_for
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.status import PartitionStatus, SubscriptionStatus
from convex_messaging_fastapi.verdicts import ready
from tests.promises.fleet import Bet, Fleet
from tests.support.waiting import eventually

MINUTE = 60.0
HEARD_SECONDS = 5.0
MARGIN_SECONDS = 2.0
"""For whoever has the processor meanwhile."""

LATER = 1000
"""The first of the messages that only end a fetch."""

Got = dict[str, list[int]]


def subscribed(bus: MessageBus, got: Got) -> MessageBus:
    """One handler to be paused, a sibling of its topic, and one of another topic in the same group."""

    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None:
        got.setdefault("pay", []).append(bet.bet_id)

    @bus.subscriber("bet.placed", id="sibling")
    async def sibling(bet: Bet) -> None:
        got.setdefault("sibling", []).append(bet.bet_id)

    @bus.subscriber("bet.won", id="other")
    async def other(bet: Bet) -> None:
        got.setdefault("other", []).append(bet.bet_id)

    return bus


@asynccontextmanager
async def two_processes(fleet: Fleet, got: Got) -> AsyncIterator[list[MessageBus]]:
    """Two buses that share the partitions of their group."""
    await fleet.topic("bet.placed")
    await fleet.topic("bet.won")
    async with AsyncExitStack() as running:
        buses = [await running.enter_async_context(subscribed(fleet.bus(), got)) for _ in range(2)]
        await eventually(lambda: all(map(partitions, buses)), MINUTE, "both have partitions")
        yield buses


def partitions(bus: MessageBus) -> tuple[PartitionStatus, ...]:
    return tuple(each for worker in bus.status().workers for each in worker.partitions)


def status_of(bus: MessageBus, id: str) -> SubscriptionStatus:
    return next(each for each in bus.status().workers[0].subscriptions if each.id == id)


def is_paused(bus: MessageBus) -> bool:
    return status_of(bus, "pay").paused is not None


async def publish(
    bus: MessageBus, first: int, count: int, topics: Sequence[str] = ("bet.placed", "bet.won")
) -> None:
    bets = [Bet(bet_id=n, player=f"p{n}") for n in range(first, first + count)]
    for topic in topics:
        await bus.publish_many(topic, bets, key=lambda bet: bet.player)


async def until_got(got: Got, id: str, count: int) -> None:
    await eventually(lambda: len(set(got.get(id, ()))) == count, MINUTE, f"{id} has {count} messages")


async def the_last_fetch_is_over(bus: MessageBus, got: Got) -> None:
    """A fetch that was under way when a pause came ends with what another topic brings, and is the last."""
    before = len(set(got.get("other", ())))
    await publish(bus, LATER, 20, ["bet.won"])
    await until_got(got, "other", before + 20)


async def heard(buses: list[MessageBus], *, paused: bool = True) -> None:
    within = HEARD_SECONDS + MARGIN_SECONDS
    await eventually(lambda: all(is_paused(bus) is paused for bus in buses), within, "all have heard of it")


async def test_a_fleet_pauses_within_seconds_and_handles_everything_after_the_resume(fleet: Fleet) -> None:
    got: Got = {}
    async with two_processes(fleet, got) as buses:
        first, second = buses
        await publish(first, 0, 20)
        await until_got(got, "pay", 20)
        revisions = [bus.status().workers[0].revision for bus in buses]

        await first.operations.pause("pay", by="ada", reason="database away")
        await heard(buses)
        await the_last_fetch_is_over(first, got)
        await publish(second, 20, 40)
        await until_got(got, "other", 80)
        assert len(got["pay"]) == 20
        assert set(got["sibling"]) == set(range(20))
        for bus in buses:
            verdict = ready(bus.status())
            assert (verdict.ok, verdict.status, verdict.reasons) == (True, "degraded", ("paused",))

        await second.operations.resume("pay", by="ada")
        await heard(buses, paused=False)
        await until_got(got, "pay", 60)
        await until_got(got, "sibling", 60)
        assert [bus.status().workers[0].revision for bus in buses] == revisions
    assert await fleet.all_is_committed("bet.placed")


async def test_a_pause_is_known_before_the_first_record_after_a_restart(fleet: Fleet) -> None:
    await fleet.topic("bet.placed")
    await fleet.topic("bet.won")
    async with fleet.bus() as operator:
        await publish(operator, 0, 20)
        await operator.operations.pause("pay", group=fleet.group, by="ada")
        got: Got = {}
        async with subscribed(fleet.bus(), got) as bus:
            await until_got(got, "other", 20)
            assert is_paused(bus)
            assert "pay" not in got
            await operator.operations.resume("pay", group=fleet.group, by="ada")
            await until_got(got, "pay", 20)


async def test_a_replayer_frozen_inside_a_transaction_holds_up_no_pause(fleet: Fleet) -> None:
    got: Got = {}
    clock, settings = SystemClock(), fleet.settings()
    parts = parts_for(settings, transport_for(settings, clock), clock)
    states = await fleet.topic("dlq.state", partitions=1, config={"cleanup.policy": "compact"})
    async with two_processes(fleet, got) as buses:
        frozen = parts.transport.transactional(f"{fleet.prefix}.dlq/{fleet.group}", 60.0)
        await frozen.claim()
        try:
            await frozen.write({TopicPartition(states, 0): [OutgoingRecord(b"letter/x/0/0", b"{}")]})
            await buses[0].operations.pause("pay", by="ada")
            await heard(buses)
        finally:
            await frozen.abort()
            await frozen.stop(clock.now() + 5)


async def test_lag_is_right_while_paused(fleet: Fleet) -> None:
    await fleet.topic("bet.placed", partitions=1)
    await fleet.topic("bet.won", partitions=1)
    got: Got = {}
    async with subscribed(fleet.bus(), got) as bus:
        await publish(bus, 0, 20)
        await until_got(got, "pay", 20)
        await eventually(lambda: _placed(fleet, partitions(bus)).committed == 20, MINUTE, "all is committed")
        await bus.operations.pause("pay", by="ada", scope="process")
        await the_last_fetch_is_over(bus, got)
        await publish(bus, 20, 40)
        await until_got(got, "other", 80)

        own, seen = await bus.operations.lag(), await bus.operations.lag(fleet.group)
        told = _of_placed(fleet, own)
        assert (told.committed, told.end, told.lag, told.backlog) == (20, 60, 40, 40)
        assert told.time_lag_seconds is not None
        assert told.time_lag_seconds < MINUTE
        cluster = _of_placed(fleet, seen)
        assert (cluster.committed, cluster.end, cluster.lag, cluster.backlog) == (20, 60, 40, None)
        assert _placed(fleet, partitions(bus)).end == 20, "the control: the remembered end stands still"


def _placed(fleet: Fleet, owned: tuple[PartitionStatus, ...]) -> PartitionStatus:
    return next(each for each in owned if each.topic == fleet.on_wire("bet.placed"))


def _of_placed(fleet: Fleet, told: tuple[PartitionLag, ...]) -> PartitionLag:
    return next(each for each in told if each.topic == fleet.on_wire("bet.placed"))
