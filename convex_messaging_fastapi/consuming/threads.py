"""Threads of our own for synchronous handlers and dependencies, so that a stuck one holds nothing up.

The event loop's executor joins its threads when the process ends; these are daemons and are never
joined. A thread cannot be interrupted, so a cancelled caller waits for what runs to end - its
message stays where it is, its dependencies stay open - unless it is cancelled again or the pool is
closed: then it is let go at once, and the thread is left behind.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar, cast

from convex_messaging_fastapi.errors import BusStopped

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ThreadsStatus:
    """How busy the threads are. `stuck` is how many run something that its caller gave up on."""

    limit: int
    running: int
    waiting: int
    stuck: int


class HandlerThreads:
    """At most `limit` threads, started when needed; belongs to the one event loop that uses it.

    What finds no free thread waits for one, first come, first served.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._threads: list[HandlerThread] = []
        self._idle: list[HandlerThread] = []
        self._waiting: deque[asyncio.Future[HandlerThread]] = deque()
        self._names = itertools.count(1)
        self._is_closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread, in a copy of the caller's context; what it returns or raises."""
        async with self.hold() as thread:
            return await thread.run(copy_context(), function, *args, **kwargs)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[HandlerThread]:
        """One thread for several calls, one after another.

        A context manager that is open on a thread can always be closed there: it need not wait
        for a thread that somebody else has, who may be waiting for what it holds.
        """
        thread = await self._acquire()
        try:
            yield thread
        finally:
            self._release(thread)

    def close(self) -> None:
        """Let idle threads end, and busy ones once they are done; wait for none of them.

        Callers that wait for a thread get `BusStopped`, those that were cancelled are let go.
        """
        self._is_closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_stopped())
        self._waiting.clear()
        for thread in self._threads:
            thread.let_go_of_cancelled()
            if not thread.is_held:
                thread.end()

    def status(self) -> ThreadsStatus:
        return ThreadsStatus(
            limit=self._limit,
            running=sum(1 for thread in self._threads if thread.is_busy),
            waiting=len(self._waiting),
            stuck=sum(1 for thread in self._threads if thread.is_deserted),
        )

    async def _acquire(self) -> HandlerThread:
        if self._is_closed:
            raise _stopped()
        thread = self._idle.pop() if self._idle else self._start_one() or await self._wait_for_one()
        thread.is_held = True
        return thread

    def _start_one(self) -> HandlerThread | None:
        if len(self._threads) >= self._limit:
            return None
        thread = HandlerThread(f"convex-handler-{next(self._names)}", self._on_rest)
        self._threads.append(thread)
        return thread

    async def _wait_for_one(self) -> HandlerThread:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._free(waiter.result())
            raise

    def _release(self, thread: HandlerThread) -> None:
        thread.is_held = False
        self._on_rest(thread)

    def _on_rest(self, thread: HandlerThread) -> None:
        """The thread was let go of, or has done everything it was given."""
        if thread.is_held:
            return
        if self._is_closed:
            thread.end()
        elif not thread.is_busy:
            self._free(thread)

    def _free(self, thread: HandlerThread) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(thread)
                return
        self._idle.append(thread)


class HandlerThread:
    """One daemon thread and the calls it was given, done in order. Made by `HandlerThreads` only."""

    def __init__(self, name: str, on_rest: Callable[[HandlerThread], None]) -> None:
        self.is_held = False
        self._loop = asyncio.get_running_loop()
        self._on_rest = on_rest
        self._calls: deque[_Call] = deque()
        self._mailbox: SimpleQueue[_Call | None] = SimpleQueue()
        self._has_cancelled_caller = False
        self._is_left_behind = False
        self._has_ended = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def is_busy(self) -> bool:
        return bool(self._calls)

    @property
    def is_deserted(self) -> bool:
        return self.is_busy and self._has_cancelled_caller

    async def run(
        self, context: Context, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function` here in `context`, after everything given before.

        On a thread that was left behind it is still called, once that is free, but not waited for:
        `CancelledError`.
        """
        call = _Call(context, lambda: function(*args, **kwargs), self._loop.create_future())
        self._calls.append(call)
        self._mailbox.put(call)
        if self._is_left_behind:
            raise asyncio.CancelledError
        await self._ended(call)
        return cast("T", call.result())

    async def _ended(self, call: _Call) -> None:
        try:
            await asyncio.wait((call.settled,))
        except asyncio.CancelledError:
            self._has_cancelled_caller = True
            try:
                if not self._has_ended_pool:
                    await asyncio.wait((call.settled,))
            finally:
                self._is_left_behind = not call.has_ended
            raise
