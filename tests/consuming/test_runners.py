"""As many runners as handlers wait, and no more: one that never waits is no reason to start a second."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.consuming.subscription import TURN_SECONDS
from tests.consuming.support import Bench


async def test_a_handler_that_never_waits_needs_one_runner() -> None:
    runners: set[object] = set()

    async def handle(message: int) -> None:
        runners.add(asyncio.current_task())

    async with Bench(handle) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(20))
        await bench.turns()

    assert len(runners) == 1


async def test_handlers_that_wait_begin_side_by_side_within_two_turns_of_the_loop() -> None:
    begun: list[int] = []
    first = asyncio.Event()

    async def handle(message: int) -> None:
        begun.append(message)
        first.set()
        await asyncio.Event().wait()

    async with Bench(handle, concurrency=8) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(20))
        await first.wait()
        await asyncio.sleep(0)

        assert begun == list(range(8))


async def test_a_handler_that_takes_up_its_turn_lets_the_loop_go_on_and_then_the_others_begin() -> None:
    begun: list[int] = []
    turns: list[int] = []
    third = asyncio.Event()

    async def handle(message: int) -> None:
        begun.append(message)
        if message == 2:
            third.set()
        if message > 2:
            await asyncio.Event().wait()
        asyncio.get_running_loop().call_soon(turns.append, message)
        bench.clock.advance(TURN_SECONDS)

    async with Bench(handle, concurrency=8) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(20))
        await third.wait()
        assert turns[:2] == [0, 1], "each had the loop to itself for a turn, and no longer"

        await bench.turns()
        assert begun == list(range(11)), "what waits has as many beside it as may be"
