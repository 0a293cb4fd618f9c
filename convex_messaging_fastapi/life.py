"""The life of a bus: one start, and one stop that all callers of `stop` wait for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from weakref import WeakSet

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.errors import (
    BusNotStarted,
    BusStateError,
    BusStopped,
    ConfigurationError,
)
from convex_messaging_fastapi.machine import Machine
from convex_messaging_fastapi.operations import Operations
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.status import Phase
from convex_messaging_fastapi.wiring import Wiring


@dataclass(frozen=True, slots=True)
class Running:
    """What exists only while the bus runs."""

    machine: Machine
    wiring: Wiring
    parts: Parts
    loop: asyncio.AbstractEventLoop
    is_test: bool = False
    operations: Callable[[], Operations | None] = lambda: None
    """What operators began stops before anything else does; `None` where nobody has asked for any."""
    leave: Callable[[], Awaitable[None]] | None = None
    """Ends the looks of those who watch the bus, once nothing else runs."""


_AT_BOTH_ENDS = (
    "to publish when the app starts or stops, do it in the lifespan of a router that is included after the "
    "MessagingRouter"
)

_NOWHERE = object()
"""Stands for no loop; `None` stands for a thread that runs none."""

_lives: WeakSet[Life] = WeakSet()


class Life:
    """The phase of a bus, and what runs in it.

    The stop is a task of its own, in the context of the start, and goes on if its caller is cancelled.
    """

    def __init__(self) -> None:
        self.phase: Phase = Phase.NEW
        self._home: object = _NOWHERE  # the event loop that everything runs on
        self._guests: list[asyncio.AbstractEventLoop] = []
        _lives.add(self)
        self._parts: Running | None = None  # from the start's first step to the stop's last
        self._context = copy_context()
        self._starting: asyncio.Timeout | None = None  # while the parts are being set going
        self._has_started = asyncio.Event()  # or has failed to
        self._stopping: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether anything runs, a start or a stop under way included."""
        return self._parts is not None

    @property
    def running(self) -> Running | None:
        """What runs, from the end of the start to the end of the stop."""
        return self._parts if self.phase in (Phase.RUNNING, Phase.DRAINING) else None

    def get(self) -> Running:
        """What runs. Raises `BusNotStarted` or `BusStopped`, and `BusStateError` on a foreign event loop."""
        if (running := self.running) is None:
            raise self._why_nothing_runs()
        if (here := current_loop()) is not self._home and here not in self._guests:
            raise BusStateError(self._where_it_runs())
        return running

    def get_in_any_thread(self) -> tuple[Running, asyncio.AbstractEventLoop]:
        """The same, and the event loop to hand a call to."""
        if (running := self.running) is None:
            raise self._why_nothing_runs()
        if self._home is _NOWHERE:
            raise BusStateError(self._where_it_runs())
        return running, self._guests[-1] if self._guests else running.loop

    def refuse_elsewhere(self) -> None:
        """Raises `BusStateError` while the bus runs on another event loop, or in the parent process.

        A bus on a foreign loop would work in part: it would write messages and never wake their callers.
        """
        if self._parts is not None and current_loop() is not self._home:
            raise BusStateError(self._where_it_runs())

    @contextmanager
    def guest(self) -> Iterator[None]:
        """Let this event loop publish beside the bus's own.

        Safe on a test bench alone: a test that drives the app on another loop, as TestClient does, blocks
        the bench's loop meanwhile, and the memory transport answers at once.
        """
        loop = asyncio.get_running_loop()
        self._guests.append(loop)
        try:
            yield
        finally:
            self._guests.remove(loop)

    def now_in_a_forked_child(self) -> None:
        self._home = _NOWHERE
        self._guests.clear()

    def _why_nothing_runs(self) -> BusStateError:
        if self.phase is Phase.STOPPED:
            return BusStopped(
                "the bus has stopped: nothing can be published any more. It stops before the app's own "
                f"lifespan ends: {_AT_BOTH_ENDS}. In tests, run the app's lifespan again, or use `async with "
                "bus.test():`"
            )
        return BusNotStarted(
            "the bus has not started: its lifespan has not begun. That begins with the app that includes its "
            f"MessagingRouter, after the app's own lifespan: {_AT_BOTH_ENDS}. Without an app use `async with "
            "bus:`; in tests, run the app's lifespan, or use `async with bus.test():`"
        )

    def _where_it_runs(self) -> str:
        if self._home is _NOWHERE:
            return (
                "the bus runs in the process that this one was forked from. Its connections stayed there, so "
                "here neither its awaited verbs nor publish_sync work: start another MessageBus after the "
                "fork, or let the parent process publish"
            )
        here = "publish from here with bus.publish_sync(...), and await its other verbs on its own loop"
        if self._parts is not None and self._parts.is_test:
            return (
                f"bus.test() was opened on another event loop: {here}. Give a fixture and its tests one loop "
                "scope (pytest-asyncio: loop_scope), and use TestClient as `with TestClient(app)` inside "
                "`async with bus.test(app)`"
            )
        return f"the bus runs on another event loop: {here}"

    def refuse_second_start(self) -> None:
        self.refuse_elsewhere()
        if self.phase is Phase.DRAINING:
            raise BusStateError("the bus is stopping: wait until its stop() is done, then start it again")
        if self.begun:
            raise ConfigurationError(
                "this bus is running already: include its router (or its lifespan) once, in one app"
            )

    async def start(self, parts: Running) -> None:
        """Start `parts`. If that fails, nothing of them is left running.

        Raises `BusStopped` if it was stopped meanwhile.
        """
        self.refuse_second_start()
        self.phase, self._parts, self._context = Phase.STARTING, parts, copy_context()
        self._home = parts.loop
        self._starting = starting = asyncio.timeout(None)
        self._has_started, self._stopping = asyncio.Event(), None
        try:
            await self._set_going(parts, starting)
        except BaseException as error:
            if self._parts is parts:
                await asyncio.shield(self._stop(then=Phase.NEW))
            if isinstance(error, TimeoutError) and starting.expired():
                raise BusStopped("the bus was stopped before it had quite started") from None
            raise

    async def _set_going(self, parts: Running, starting: asyncio.Timeout) -> None:
        try:
            async with starting:
                await parts.machine.start()
        finally:
            self._starting = None
            self._has_started.set()
        if self.phase is not Phase.STARTING:
            raise BusStopped("the bus was stopped while it started")
        self.phase = Phase.RUNNING

    async def stop(self) -> None:
        """Return once nothing runs. Cancelling this ends the wait, and not the stop."""
        if self._parts is None:
            return
        self.refuse_elsewhere()
        await asyncio.shield(self._stop(then=Phase.STOPPED))

    def _stop(self, then: Phase) -> asyncio.Task[None]:
        """The one task that stops the bus, begun by the first caller."""
        if self._stopping is None:
            assert self._parts is not None  # noqa: S101 - only a bus that runs is stopped
            self.phase = Phase.DRAINING
            self._stopping = self._parts.loop.create_task(
                self._end(self._parts, then), name="convex-stop", context=self._context.copy()
            )
            self._stopping.add_done_callback(_say_why_it_failed)
        return self._stopping

    async def _end(self, parts: Running, then: Phase) -> None:
        try:
            if self._starting is not None:
                self._starting.reschedule(parts.loop.time())  # what the start waits for may never come
                await self._has_started.wait()
            if (operations := parts.operations()) is not None:
                await operations.stop()
            try:
                await parts.machine.stop()
            finally:
                if parts.leave is not None:
                    await parts.leave()
        finally:
            self.phase, self._parts = then, None


def _say_why_it_failed(task: asyncio.Task[None]) -> None:
    if task.cancelled():
        reports.stop_cancelled()
    elif (error := task.exception()) is not None:
        reports.defect("the stop of the bus failed", error)


def current_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this thread runs, if it runs one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # how asyncio says that there is none
        return None


def _after_a_fork() -> None:
    for life in _lives:
        life.now_in_a_forked_child()


if hasattr(os, "register_at_fork"):
    # One hook a fork: otherwise every call would have to ask for its process id.
    os.register_at_fork(after_in_child=_after_a_fork)
