"""Time that a test turns by hand behaves as the machine's own does, only faster."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi import clock as clocks
from convex_messaging_fastapi.clock import Clock, ManualClock, SystemClock, settled_within, time_limit


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_timers_fire_in_the_order_of_their_due_times() -> None:
    clock, fired = ManualClock(), []
    for seconds in (3.0, 1.0, 2.0):
        clock.call_later(seconds, lambda seconds=seconds: fired.append((seconds, clock.now())))  # type: ignore[misc]

    clock.advance(2.5)

    assert fired == [(1.0, 1.0), (2.0, 2.0)]
    assert (clock.now(), clock.next_due()) == (2.5, 0.5)


async def test_a_timer_that_was_cancelled_never_fires() -> None:
    clock, fired = ManualClock(), []
    clock.call_later(1.0, lambda: fired.append("no")).cancel()

    clock.advance(2)

    assert (fired, clock.next_due()) == ([], None)


async def test_a_timer_set_by_a_timer_fires_within_the_same_turn_of_the_clock() -> None:
    clock, at = ManualClock(), []
    clock.call_later(1.0, lambda: clock.call_later(1.0, lambda: at.append(clock.now())))

    clock.advance(5)

    assert at == [2.0]


async def test_a_look_is_passed_over_unless_nothing_else_is_due() -> None:
    clock, fired = ManualClock(), []
    clock.look_later(1.0, lambda: fired.append("look"))
    passed_over = clock.call_later(2.0, lambda: fired.append("cancelled"))
    clock.call_later(3.0, lambda: fired.append("step"))
    passed_over.cancel()

    assert (clock.next_due(), clock.next_step()) == (1.0, 3.0)
    clock.advance(3.0)
    assert fired == ["look", "step"]
    assert clock.next_step() is None

    clock.look_later(1.0, lambda: None)
    assert clock.next_step() == 1.0


async def test_what_is_due_already_needs_no_turning() -> None:
    clock, fired = ManualClock(), []
    clock.call_later(0.0, lambda: fired.append("now"))

    await turns()

    assert fired == ["now"]


@pytest.mark.parametrize("clock", [ManualClock(), SystemClock()], ids=["manual", "system"])
async def test_unix_time_is_seconds_and_now_only_ever_grows(clock: Clock) -> None:
    before = clock.now()

    assert clock.unix() > 1_700_000_000
    assert clock.now() >= before


async def test_sleep_ends_when_its_time_has_passed_and_not_before() -> None:
    clock = ManualClock()
    sleeping = asyncio.ensure_future(clocks.sleep(clock, 2))
    await turns()

    clock.advance(1.9)
    await turns()
    assert not sleeping.done()

    clock.advance(0.1)
    await asyncio.wait_for(sleeping, 5)


async def test_a_cancelled_sleep_leaves_no_timer_behind() -> None:
    clock = ManualClock()
    sleeping = asyncio.ensure_future(clocks.sleep(clock, 2))
    await turns()

    sleeping.cancel()
    await turns()

    assert clock.next_due() is None


async def test_a_time_limit_raises_in_the_body_and_only_there() -> None:
    clock, told = ManualClock(), []

    async def body() -> None:
        async with time_limit(clock, 5):
            try:
                await asyncio.Event().wait()
            finally:
                told.append("cleaned up")

    running = asyncio.ensure_future(body())
    await turns()
    clock.advance(5)

    with pytest.raises(TimeoutError):
        await running
    assert told == ["cleaned up"]


async def test_no_limit_and_a_body_that_is_quick_enough_leave_no_timer() -> None:
    clock = ManualClock()
    async with time_limit(clock, None):
        pass
    async with time_limit(clock, 5):
        pass

    assert clock.next_due() is None


async def test_waiting_for_a_future_neither_cancels_it_nor_asks_what_it_came_to() -> None:
    clock = ManualClock()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(settled_within(clock, future, 3))
    await turns()
    clock.advance(3)

    assert await waiting is False
    assert not future.done()

    future.set_exception(ValueError("its owner's business"))
    assert await settled_within(clock, future, 3) is True
    assert isinstance(future.exception(), ValueError)


async def test_waiting_for_no_time_at_all_is_only_a_look() -> None:
    clock = ManualClock()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    assert await asyncio.wait_for(settled_within(clock, future, 0), 5) is False
    future.cancel()
