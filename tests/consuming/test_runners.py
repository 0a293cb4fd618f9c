"""As many runners as handlers wait, and no more: one that never waits is no reason to start a second."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.subscription import TURN_SECONDS
from tests.consuming.support import Bench


def feed_a_hot_key_and_two_others(bench: Bench) -> None:
    bench.transport.assign()
    bench.transport.feed(*range(5), key=b"hot")
    bench.transport.feed(5, 6)


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


async def test_a_key_with_a_backlog_takes_turns_with_the_others_where_one_handler_works_and_waits() -> None:
    begun: list[int] = []
    everything = asyncio.Event()

    async def handle(message: int) -> None:
        await asyncio.sleep(0)
        begun.append(message)
        if len(begun) == 7:
            everything.set()

    async with Bench(handle, concurrency=1) as bench:
        feed_a_hot_key_and_two_others(bench)
        await everything.wait()

    assert begun == [0, 5, 6, 1, 2, 3, 4]


async def test_a_handler_that_never_waits_has_what_came_in_its_order_however_many_turns_it_takes() -> None:
    begun: list[int] = []

    async def handle(message: int) -> None:
        begun.append(message)
        bench.clock.advance(TURN_SECONDS)

    async with Bench(handle) as bench:
        feed_a_hot_key_and_two_others(bench)
        await bench.turns()

    assert begun == [0, 1, 2, 3, 4, 5, 6]


async def test_whoever_waits_for_the_handlers_finds_everything_told_that_they_have_finished() -> None:
    unfinished: list[int] = []
    quiesced = asyncio.Event()

    async def handle(message: int) -> None:
        if message == 0:  # so that it has its turn of the loop before anything else that comes of this
            asyncio.get_running_loop().create_task(look())

    async def look() -> None:
        assert await bench.subscription.quiesced(bench.worker.partitions, bench.clock.now())
        unfinished.extend(owned.ledger.unfinished for owned in bench.worker.partitions)
        quiesced.set()

    async with Bench(handle) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(5))
        await quiesced.wait()

    assert unfinished == [0]


async def test_a_worker_that_cannot_be_told_of_what_is_finished_counts_as_dead(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(message: int) -> None: ...

    async with Bench(handle) as bench:
        bench.subscription.feeder = replace(bench.subscription.feeder, finished=broken)
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.turns()

        assert not bench.worker.alive
        assert "telling of 2 finished messages of 'handler' failed: RuntimeError('broken')" in caplog.text


def broken(jobs: Sequence[Job]) -> None:
    raise RuntimeError("broken")
