"""Settings that say how long something may take: publishing, draining, stopping."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi import PublishFailed
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.transport.memory.broker import MemoryBroker, shared_broker
from tests.settings.effects.test_consuming import Bet, bus_with
from tests.support.waiting import eventually


@pytest.mark.parametrize("seconds", [2, 40])
async def test_publish_timeout_seconds_is_how_long_publish_waits_for_its_acknowledgement(
    seconds: float,
) -> None:
    bus = bus_with(publish_timeout_seconds=seconds)

    async with bus.test() as t:
        t.broker.down()
        publishing = asyncio.ensure_future(bus.publish("bet.placed", Bet(bet_id=1)))
        await t.advance(seconds * 0.9)
        assert not publishing.done()
        await t.advance(seconds * 0.2)
        with pytest.raises(PublishFailed):
            await publishing
        t.broker.up()


@pytest.mark.parametrize("seconds", [3, 17])
async def test_drain_timeout_seconds_is_what_running_handlers_get_when_the_bus_stops(seconds: float) -> None:
    bus = bus_with(drain_timeout_seconds=seconds, shutdown_timeout_seconds=60)
    ended: list[float] = []

    async with bus.test() as t:

        async def never_return(bet: Bet) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(t.clock.now())

        await bus.subscribe("bet.placed", never_return)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.advance(1)
        stopped_at = t.clock.now()
    assert [at - stopped_at for at in ended] == [pytest.approx(seconds, abs=0.01)]


@pytest.mark.parametrize("seconds", [5, 33])
async def test_shutdown_timeout_seconds_bounds_a_stop_while_the_broker_is_away(seconds: float) -> None:
    """A message that cannot be written is waited for as long as that, and no longer."""
    bus = bus_with(shutdown_timeout_seconds=seconds, drain_timeout_seconds=1)

    async with bus.test() as t:
        t.broker.down()
        publishing = asyncio.ensure_future(bus.publish("bet.placed", Bet(bet_id=1), timeout=3600))
        await t.advance(1)
        stopped_at = t.clock.now()
    assert seconds * 0.7 <= t.clock.now() - stopped_at <= seconds
    with pytest.raises(PublishFailed):
        await publishing


@pytest.fixture
def broker(unique: str) -> MemoryBroker:
    return shared_broker(unique, SystemClock())


@pytest.mark.parametrize(("seconds", "is_cancelled"), [(0.1, True), (20, False)])
async def test_revoke_drain_seconds_is_what_running_handlers_get_when_partitions_move(
    broker: MemoryBroker, unique: str, seconds: float, is_cancelled: bool
) -> None:
    address = f"memory://{unique}"
    first, second = (bus_with(bootstrap_servers=address, revoke_drain_seconds=seconds) for _ in range(2))
    began, gate, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @first.subscriber("bet.placed")
    async def work(bet: Bet) -> None:
        began.set()
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    @second.subscriber("bet.placed")
    async def take_over(bet: Bet) -> None: ...

    async with first:
        await first.publish("bet.placed", Bet(bet_id=1))
        await began.wait()
        async with second:
            await eventually(lambda: first.status().workers[0].rebalancing, 10, "the rebalance")
            if is_cancelled:
                await asyncio.wait_for(cancelled.wait(), 10)
            gate.set()
            await eventually(lambda: second.status().workers[0].partitions, 10, "partitions of the second")
    assert cancelled.is_set() is is_cancelled
