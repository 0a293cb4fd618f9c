"""Our own threads for synchronous handlers and dependencies, so that a stuck one holds up nothing else.

The event loop's executor joins its threads when the process ends; these are daemons that nobody
joins. A thread cannot be interrupted, so a cancelled caller waits until the function has ended:
its key stays blocked and its dependencies stay open. Cancelled a second time, or once the pool is
closed, the caller returns at once and the thread is left behind.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar, cast

from convex_messaging_fastapi.errors import BusStopped
from convex_messaging_fastapi.status import ThreadsStatus

P = ParamSpec("P")
T = TypeVar("T")


class HandlerThreads:
    """At most `limit` threads, started when needed; belongs to the event loop that first uses it.

    A call that finds no free thread waits for one, first come, first served.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._threads: list[HandlerThread] = []
        self._idle: list[HandlerThread] = []
        self._waiting: dict[asyncio.Future[HandlerThread], None] = {}  # in the order in which they came
        self._names = itertools.count(1)
        self._is_closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread, in a copy of the caller's context; what it returns or raises.

        Raises `BusStopped` once the pool is closed.
        """
        async with self.hold() as thread:
            return await thread.run(copy_context(), function, *args, **kwargs)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[HandlerThread]:
        """One thread for several calls, one after another.

        What was opened on a held thread can always be closed there. If closing needed a free thread,
        all threads could belong to callers that wait for what is open.
        """
        thread = await self._acquire()
        try:
            yield thread
        finally:
            thread.is_held = False
            self._note_idle(thread)

    def close(self) -> None:
        """Let idle threads end now and the others when they are done; waits for none of them.

        Callers that wait for a thread get `BusStopped`; cancelled ones return.
        """
        self._is_closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_closed())
        self._waiting.clear()
        for thread in self._threads:
            thread.let_go()
            if not thread.is_held:
                thread.end()

    def status(self) -> ThreadsStatus:
        return ThreadsStatus(
            limit=self._limit,
            running=sum(1 for thread in self._threads if thread.is_busy),
            waiting=len(self._waiting),
            stuck=sum(1 for thread in self._threads if thread.is_stuck),
        )

    async def _acquire(self) -> HandlerThread:
        if self._is_closed:
            raise _closed()
        if not self._idle and len(self._threads) >= self._limit:
            return await self._wait_for_one()
        thread = self._idle.pop() if self._idle else self._start_one()
        thread.is_held = True
        return thread

    def _start_one(self) -> HandlerThread:
        thread = HandlerThread(f"convex-handler-{next(self._names)}", self._note_idle)
        self._threads.append(thread)
        return thread

    async def _wait_for_one(self) -> HandlerThread:
        waiter: asyncio.Future[HandlerThread] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiting.pop(waiter, None)
            if not waiter.cancelled() and waiter.exception() is None:
                # Handed over in the same turn as the cancellation: nobody else knows that it is free.
                waiter.result().is_held = False
                self._note_idle(waiter.result())
            raise

    def _note_idle(self, thread: HandlerThread) -> None:
        """A thread was given back, or has made all its calls; it is free once both are so."""
        if thread.is_held:
            return
        if self._is_closed:
            thread.end()
        elif not thread.is_busy:
            self._lend(thread)

    def _lend(self, thread: HandlerThread) -> None:
        while self._waiting:
            waiter = next(iter(self._waiting))
            del self._waiting[waiter]
            if not waiter.done():
                thread.is_held = True
                waiter.set_result(thread)
                return
        self._idle.append(thread)


class HandlerThread:
    """One daemon thread and the calls it was given, made in that order."""

    def __init__(self, name: str, on_idle: Callable[[HandlerThread], None]) -> None:
        self.is_held = False
        self._loop = asyncio.get_running_loop()
        self._on_idle = on_idle
        self._calls: deque[_Call] = deque()
        self._mailbox: SimpleQueue[_Call | None] = SimpleQueue()
        self._lets_go = False
        self._is_left_behind = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def is_busy(self) -> bool:
        return bool(self._calls)

    @property
    def is_stuck(self) -> bool:
        """Whether it makes a call whose caller was cancelled."""
        return any(call.is_given_up for call in self._calls)

    async def run(self, context: Context, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` here in `context`, after all it was given before.

        A thread that was left behind makes the call some day, but the caller does not wait for it and
        gets `CancelledError`.
        """
        call = _Call(context, lambda: function(*args, **kwargs), self._loop.create_future())
        self._calls.append(call)
        self._mailbox.put(call)
        if self._is_left_behind:
            raise asyncio.CancelledError
        await self._settled(call)
        return cast("T", call.result())

    def let_go(self) -> None:
        """Let cancelled callers return, now and from now on."""
        self._lets_go = True
        for call in self._calls:
            if call.is_given_up:
                call.settle()

    def end(self) -> None:
        self._mailbox.put(None)

    async def _settled(self, call: _Call) -> None:
        try:
            await asyncio.wait((call.settled,))
        except asyncio.CancelledError:
            call.is_given_up = True
            try:
                if not self._lets_go:
                    await asyncio.wait((call.settled,))
            finally:
                self._is_left_behind = call in self._calls
            raise

    def _work(self) -> None:
        while self._make_next_call():
            pass

    def _make_next_call(self) -> bool:
        call = self._mailbox.get()
        if call is None:
            return False
        call.make()
        try:
            self._loop.call_soon_threadsafe(self._call_ended)
        except RuntimeError:  # the loop is closed, so nobody waits and nobody will call again
            return not self._mailbox.empty()
        return True

    def _call_ended(self) -> None:
        self._calls.popleft().settle()
        if not self._calls:
            self._is_left_behind = False
            self._on_idle(self)


class _Call:
    """A function on its way to a thread, and what came back."""

    __slots__ = ("_context", "_error", "_function", "_value", "is_given_up", "settled")

    def __init__(self, context: Context, function: Callable[[], Any], settled: asyncio.Future[None]) -> None:
        self._context = context
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None
        self.settled = settled
        self.is_given_up = False

    def make(self) -> None:
        try:
            self._value = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, in the other thread
            self._error = error

    def settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    def result(self) -> Any:
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            # Raised here, not handed to a future: that refuses StopIteration, and would never be done.
            raise error
        finally:
            del error  # or the traceback would keep its own frame alive


def _closed() -> BusStopped:
    return BusStopped("the bus has stopped: its threads take no more synchronous handlers or dependencies")
