"""Handlers come and go while other things happen: one change at a time, each whole, none after the end."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi import BusStopped
from tests.bus.support import Bet, memory_bus


class Slow:
    """A handler that waits at its gate."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.got: list[int] = []

    async def __call__(self, bet: Bet) -> None:
        self.begun.set()
        await self.gate.wait()
        self.got.append(bet.bet_id)


async def test_a_cancelled_subscribe_leaves_a_group_that_is_read() -> None:
    bus, slow = memory_bus(), Slow()
    bus.subscriber("bet.placed")(slow)

    async with bus:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await slow.begun.wait()
        joining = asyncio.create_task(bus.subscribe("bet.won", slow))
        await turns()
        joining.cancel()
        await turns()

        slow.gate.set()
        await bus.publish("bet.placed", Bet(bet_id=2))
        async with asyncio.timeout(5):
            while slow.got != [1, 2]:
                await turns()


async def test_a_handler_that_comes_while_the_last_of_its_group_goes_is_there_afterwards() -> None:
    bus, old, new = memory_bus(), Slow(), Slow()
    new.gate.set()

    async with bus:
        id = await bus.subscribe("bet.placed", old)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await old.begun.wait()
        going = asyncio.create_task(bus.unsubscribe(id))
        await turns()
        coming = asyncio.create_task(bus.subscribe("bet.placed", new))
        await turns()
        old.gate.set()
        await asyncio.gather(going, coming)

        await bus.publish("bet.placed", Bet(bet_id=2))
        async with asyncio.timeout(5):
            while new.got != [2]:
                await turns()


async def test_while_the_bus_drains_no_handler_is_taken_in() -> None:
    bus, slow = memory_bus(), Slow()
    bus.subscriber("bet.placed")(slow)

    await bus.start()
    await bus.publish("bet.placed", Bet(bet_id=1))
    await slow.begun.wait()
    stopping = asyncio.create_task(bus.stop())
    await turns()

    with pytest.raises(BusStopped):
        await bus.subscribe("bet.won", slow, group="another", id="late")
    slow.gate.set()
    await stopping

    await bus.start()
    assert [worker.group for worker in bus.status().workers] == ["bets"], "and it is not declared either"
    await bus.stop()


async def turns() -> None:
    """Let everything go on that does not wait for time."""
    for _ in range(50):
        await asyncio.sleep(0)
