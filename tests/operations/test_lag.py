"""How far a group is behind: as Kafka's tools count, in messages that are not finished, and in time."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from convex_messaging_fastapi import ConfigurationError, MessageBus
from convex_messaging_fastapi.consuming.snapshots import SEEN_SECONDS
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.operations import PartitionLag
from convex_messaging_fastapi.operations.lag import SHARED_SECONDS
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic
from convex_messaging_fastapi.transport.memory.consumer import MemoryConsumer
from convex_messaging_fastapi.verdicts import live, overall, ready, startup
from tests.bus.support import Bet, memory_bus
from tests.operations.support import Desk

TOPIC = "convex.bet.placed"
WHERE = TopicPartition(TOPIC, 0)


def bus_that_pays() -> MessageBus:
    bus = memory_bus()

    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None: ...

    return bus


async def publish(bus: MessageBus, count: int) -> None:
    """All into one partition."""
    await bus.publish_many("bet.placed", [Bet(bet_id=id) for id in range(count)], key="ada")


async def own(bus: MessageBus) -> PartitionLag:
    return next(each for each in await bus.operations.lag() if each.topic == TOPIC and each.end)


async def test_lag_is_right_while_paused_and_the_remembered_end_is_not() -> None:
    bus = bus_that_pays()
    async with bus.test() as t:
        await publish(bus, 20)
        await t.settle()
        await bus.operations.pause("pay", by="ada", scope="process")
        await t.advance(60)
        await publish(bus, 40)
        await t.advance(30)

        told = await own(bus)
        assert (told.committed, told.end, told.lag, told.backlog) == (20, 60, 40, 40)
        assert told.time_lag_seconds == pytest.approx(30, abs=1)
        owned = bus.status().workers[0].partitions
        (remembered,) = {each.end for each in owned if each.partition == told.partition}
        assert remembered == 20, "the control: what the engine remembers stands still"

        await bus.operations.resume("pay", by="ada", scope="process")
        await t.settle()
        await t.advance(60)
        told = await own(bus)
        assert (told.lag, told.backlog, told.time_lag_seconds) == (0, 0, 0.0)


async def test_a_status_tells_the_lag_while_somebody_asks_for_it() -> None:
    bus = bus_that_pays()

    def told() -> tuple[int | None, int | None, float | None]:
        owned = next(each for w in bus.status().workers for each in w.partitions if each.position)
        return owned.lag, owned.backlog, owned.time_lag_seconds

    async with bus.test() as t:
        await publish(bus, 20)
        await t.settle()
        assert told() == (None, None, None)
        await bus.operations.pause("pay", by="ada", scope="process")
        await t.advance(60)
        await publish(bus, 40)
        await own(bus)
        lag, backlog, seconds = told()
        assert (lag, backlog) == (40, 40)
        assert seconds == pytest.approx(0, abs=1)
        await t.advance(SEEN_SECONDS + 1)
        assert told() == (None, None, None)


async def test_what_is_finished_and_not_committed_is_lag_and_no_backlog() -> None:
    bus = memory_bus(auto_commit_interval_ms=60_000)

    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        await publish(bus, 5)
        await t.settle()
        told = await own(bus)
        assert (told.lag, told.backlog) == (5, 0)


async def test_a_group_is_seen_as_the_cluster_sees_it() -> None:
    desk = Desk()
    desk.broker.ensure(NewTopic(TOPIC, 2))
    desk.broker.append(WHERE, [OutgoingRecord(b"k", b"{}")] * 3)
    desk.commit("bets", WHERE, 1)
    desk.clock.advance(90)

    told = await desk.operations.lag("bets")

    assert told == (
        PartitionLag(
            group="bets", topic=TOPIC, partition=0, committed=1, end=3, lag=2, time_lag_seconds=90.0
        ),
        PartitionLag(group="bets", topic=TOPIC, partition=1, committed=None, end=0, lag=None),
    )


async def test_a_group_of_a_running_bus_is_seen_with_what_it_has_not_committed_yet() -> None:
    bus = bus_that_pays()
    async with bus.test() as t:
        await t.settle()
        told = await bus.operations.lag("bets")
        assert {(each.topic, each.committed or 0, each.end) for each in told} == {(TOPIC, 0, 0)}


async def test_a_group_that_nobody_knows_is_behind_in_nothing() -> None:
    assert await Desk().operations.lag("nobody") == ()


async def test_the_cluster_is_asked_at_most_every_five_seconds_and_never_by_probes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus = bus_that_pays()
    async with bus.test() as t:
        await publish(bus, 3)
        await t.settle()
        asked = counted(monkeypatch)
        for _ in range(10_000):
            status = bus.status()
            for probe in (startup, live, ready, overall):
                probe(status)
        assert asked == []
        for _ in range(100):
            await bus.operations.lag()
        assert len(asked) == 1
        await t.advance(SHARED_SECONDS)
        assert len(asked) == 1, "nobody looks"
        await bus.operations.lag()
        assert len(asked) == 2


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Collection[TopicPartition]]:
    """The questions for ends of this process's own partitions."""
    asked, ends = list[Collection[TopicPartition]](), MemoryConsumer.ends

    async def noted(
        self: MemoryConsumer, wanted: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int] | None:
        if TOPIC in {where.topic for where in wanted}:
            asked.append(wanted)
        return await ends(self, wanted)

    monkeypatch.setattr(MemoryConsumer, "ends", noted)
    return asked


async def test_without_a_bus_a_group_is_named() -> None:
    with pytest.raises(ConfigurationError, match="name a group"):
        await Desk().operations.lag()


async def test_a_broker_that_is_away_is_told() -> None:
    desk = Desk()
    desk.broker.down()
    with pytest.raises(TransportError, match="down"):
        await desk.operations.lag("bets")
