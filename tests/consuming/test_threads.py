"""Our own threads: bounded, never joined, honest about what still runs."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.errors import BusStopped
from convex_messaging_fastapi.status import ThreadsStatus
from tests.support.waiting import eventually


class Gate:
    """A function that begins, waits for the test, and ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = threading.Event()
        self.begun = asyncio.Event()
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self._open.wait(10)
        return "through"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
async def threads() -> AsyncIterator[HandlerThreads]:
    pool = HandlerThreads(2)
    yield pool
    pool.close()


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate(asyncio.get_running_loop())
    yield gate
    gate.open()


async def until(condition: Callable[[], bool]) -> None:
    await eventually(condition, 10, "the threads")


async def test_a_call_runs_in_a_daemon_thread_of_ours(threads: HandlerThreads) -> None:
    def who(greeting: str, *, to: str) -> tuple[str, threading.Thread]:
        return f"{greeting} {to}", threading.current_thread()

    said, thread = await threads.run(who, "hello", to="you")

    assert said == "hello you"
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name.startswith("convex-handler-")


async def test_what_it_raises_is_raised(threads: HandlerThreads) -> None:
    def fail() -> None:
        raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        await threads.run(fail)
    assert await threads.run(lambda: "and the thread goes on") == "and the thread goes on"


async def test_a_stop_iteration_fails_the_call_instead_of_hanging_it(threads: HandlerThreads) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(threads.run(lambda: next(iter(()))), 5)


async def test_even_what_ends_an_interpreter_is_the_callers(threads: HandlerThreads) -> None:
    def leave() -> None:
        raise asyncio.CancelledError("nobody cancelled this")

    with pytest.raises(asyncio.CancelledError, match="nobody"):
        await threads.run(leave)
    assert threads.status().running == 0


async def test_a_call_sees_the_callers_context_and_cannot_change_it(threads: HandlerThreads) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("the caller's")

    def change() -> str:
        seen = variable.get()
        variable.set("the thread's")
        return seen

    assert await threads.run(change) == "the caller's"
    assert variable.get() == "the caller's"
    variable.set("unset again")
    assert await threads.run(variable.get) == "unset again"


async def test_a_free_thread_is_used_again(threads: HandlerThreads) -> None:
    names = {(await threads.run(threading.current_thread)).name for _ in range(5)}
    assert len(names) == 1


async def test_no_more_than_the_limit_run_and_the_others_wait_their_turn(threads: HandlerThreads) -> None:
    gates = [Gate(asyncio.get_running_loop()) for _ in range(4)]
    calls = [asyncio.create_task(threads.run(gate)) for gate in gates]
    await gates[0].begun.wait()
    await gates[1].begun.wait()

    assert threads.status() == ThreadsStatus(limit=2, running=2, waiting=2, stuck=0)

    gates[1].open()
    await gates[2].begun.wait()
    assert not gates[3].begun.is_set()
    for gate in gates:
        gate.open()
    assert await asyncio.gather(*calls) == ["through"] * 4
    assert threads.status() == ThreadsStatus(limit=2, running=0, waiting=0, stuck=0)


async def test_a_cancelled_caller_stays_until_its_thread_is_done(threads: HandlerThreads, gate: Gate) -> None:
    """So that a key whose handler timed out stays blocked while that still runs."""
    call = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    call.cancel()
    await until(lambda: threads.status().stuck == 1)

    assert not call.done()

    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert threads.status() == ThreadsStatus(limit=2, running=0, waiting=0, stuck=0)


async def test_a_time_limit_is_told_once_the_thread_is_done(threads: HandlerThreads, gate: Gate) -> None:
    async def limited() -> None:
        async with asyncio.timeout(None) as limit:
            asyncio.get_running_loop().call_soon(lambda: limit.reschedule(0))
            await threads.run(gate)

    call = asyncio.create_task(limited())
    await until(lambda: threads.status().stuck == 1)
    assert not call.done()
    gate.open()
    with pytest.raises(TimeoutError):
        await call


async def test_a_second_cancellation_leaves_the_thread_behind_and_its_place_taken(gate: Gate) -> None:
    threads = HandlerThreads(1)
    call = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    call.cancel()
    await until(lambda: threads.status().stuck == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert threads.status().stuck == 1
    waiting = asyncio.create_task(threads.run(lambda: "after it"))
    await until(lambda: threads.status().waiting == 1)
    gate.open()
    assert await waiting == "after it"
    assert threads.status() == ThreadsStatus(limit=1, running=0, waiting=0, stuck=0)
    threads.close()


async def test_closing_lets_cancelled_callers_go_although_their_threads_run_on(gate: Gate) -> None:
    threads = HandlerThreads(1)
    call = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    call.cancel()
    await until(lambda: threads.status().stuck == 1)

    threads.close()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert threads.status().stuck == 1
    gate.open()
    await until(lambda: threads.status().stuck == 0)


async def test_closing_lets_an_uncancelled_caller_have_its_result(gate: Gate) -> None:
    threads = HandlerThreads(1)
    call = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    threads.close()
    assert not call.done()
    gate.open()
    assert await call == "through"


async def test_after_closing_a_cancellation_is_not_held_up(gate: Gate) -> None:
    threads = HandlerThreads(1)
    call = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    threads.close()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert threads.status().running == 1


async def test_closing_ends_idle_threads_at_once_and_busy_ones_when_they_are_done(gate: Gate) -> None:
    threads = HandlerThreads(2)
    call = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    idle = await threads.run(threading.current_thread)
    busy = next(t for t in threading.enumerate() if t.name.startswith("convex-handler-") and t is not idle)

    threads.close()

    idle.join(10)
    assert not idle.is_alive()
    gate.open()
    await call
    busy.join(10)
    assert not busy.is_alive()


async def test_a_closed_pool_takes_nothing_more(gate: Gate) -> None:
    threads = HandlerThreads(1)
    running = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    waiting = asyncio.create_task(threads.run(gate))
    cancelled = asyncio.create_task(threads.run(gate))
    await until(lambda: threads.status().waiting == 2)
    cancelled.cancel()

    threads.close()

    with pytest.raises(BusStopped, match="the bus has stopped"):
        await waiting
    with pytest.raises(BusStopped):
        await threads.run(gate)
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    gate.open()
    assert await running == "through"
    assert gate.calls == 1


async def test_a_caller_cancelled_in_the_queue_is_never_run(gate: Gate) -> None:
    threads = HandlerThreads(1)
    running = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    queued = Gate(asyncio.get_running_loop())
    waiting = asyncio.create_task(threads.run(queued))
    await until(lambda: threads.status().waiting == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open()
    await running
    assert await threads.run(lambda: "free") == "free"
    assert queued.calls == 0
    threads.close()


async def test_a_thread_handed_to_a_caller_cancelled_in_the_same_turn_goes_to_the_next(gate: Gate) -> None:
    threads = HandlerThreads(1)

    async def run_and_cancel_the_next() -> None:
        await threads.run(gate)
        first.cancel()  # it has been handed the thread, and has not had its turn yet

    running = asyncio.create_task(run_and_cancel_the_next())
    await gate.begun.wait()
    first = asyncio.create_task(threads.run(lambda: "first"))
    second = asyncio.create_task(threads.run(lambda: "second"))
    await until(lambda: threads.status().waiting == 2)
    gate.open()
    await running
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "second"
    threads.close()


async def test_a_held_thread_makes_all_its_calls_in_one_place(threads: HandlerThreads) -> None:
    context = contextvars.copy_context()
    async with threads.hold() as thread:
        one = await thread.run(context, threading.get_ident)
        other = await threads.run(threading.get_ident)
        assert await thread.run(context, threading.get_ident) == one != other


async def test_what_is_left_to_a_stuck_thread_is_done_after_all(gate: Gate) -> None:
    """The exit of a dependency is made once its thread is free, though nobody waits any more."""
    threads = HandlerThreads(1)
    made: list[str] = []

    async def use() -> None:
        async with threads.hold() as thread:
            try:
                await thread.run(contextvars.copy_context(), gate)
            finally:
                await thread.run(contextvars.copy_context(), made.append, "closed")

    call = asyncio.create_task(use())
    await gate.begun.wait()
    threads.close()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert made == []
    gate.open()
    await until(lambda: made == ["closed"])
    await until(lambda: threads.status().running == 0)


LEAVING = """
import asyncio, sys, threading
from convex_messaging_fastapi.consuming.threads import HandlerThreads

never = threading.Event()

async def main():
    threads = HandlerThreads(2)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    def stick():
        loop.call_soon_threadsafe(begun.set)
        never.wait()
    call = asyncio.create_task(threads.run(stick))
    await begun.wait()
    {ending}

asyncio.run(main())
print("left")
"""


@pytest.mark.parametrize("ending", ["threads.close()", "call.cancel(); await asyncio.sleep(0)"])
def test_a_process_ends_although_a_thread_never_does(ending: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LEAVING.format(ending=ending)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("left\n", "")


def test_a_call_that_ends_after_its_loop_was_closed_disturbs_nobody() -> None:
    release, begun = threading.Event(), threading.Event()
    rolled_back: list[bool] = []
    worker: list[threading.Thread] = []

    def stick() -> None:
        worker.append(threading.current_thread())
        begun.set()
        release.wait(10)

    async def leave_it_behind() -> None:
        threads = HandlerThreads(1)

        async def use() -> None:
            async with threads.hold() as thread:
                try:
                    await thread.run(contextvars.copy_context(), stick)
                finally:
                    await thread.run(contextvars.copy_context(), rolled_back.append, True)

        call = asyncio.create_task(use())
        await asyncio.to_thread(begun.wait, 10)
        call.cancel()
        await until(lambda: threads.status().stuck == 1)

    asyncio.run(leave_it_behind())
    release.set()
    worker[0].join(10)
    assert not worker[0].is_alive()
    assert rolled_back == [True]


@pytest.mark.parametrize("how_many", [1, 10, 500])
async def test_callers_that_gave_up_waiting_for_a_thread_leave_nothing_behind(
    gate: Gate, how_many: int
) -> None:
    threads = HandlerThreads(1)
    busy = asyncio.create_task(threads.run(gate))
    await gate.begun.wait()
    waiting = [asyncio.create_task(threads.run(lambda: None)) for _ in range(how_many)]
    await until(lambda: threads.status().waiting == how_many)
    last = asyncio.create_task(threads.run(lambda: "after them"))
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert threads.status().waiting == 1
    assert len(threads._waiting) == 1
    gate.open()
    assert await last == "after them"
    await busy
    threads.close()
