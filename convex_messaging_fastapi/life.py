"""The life of a bus: one start, and one stop that everybody who asks for it waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from convex_messaging_fastapi.errors import (
    BusNotStarted,
    BusStateError,
    BusStopped,
    ConfigurationError,
)
from convex_messaging_fastapi.machine import Machine
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords, Receipt
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.status import Phase
from convex_messaging_fastapi.wiring import Wiring

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """What there is only while the bus runs."""

    machine: Machine
    wiring: Wiring
    settings: MessagingSettings
    loop: asyncio.AbstractEventLoop

    def write(
        self, topic: str, record: OutgoingRecord, timeout: float | None
    ) -> Coroutine[Any, Any, Receipt]:
        return self.machine.publisher.publish(self.wiring.on_wire(topic), record, self._limit(timeout))

    async def write_many(
        self,
        topic: str,
        records: OutgoingRecords,
        timeout: float | None,
    ) -> list[Receipt]:
        return await self.machine.publisher.publish_many(
            self.wiring.on_wire(topic), records, self._limit(timeout)
        )

    def _limit(self, timeout: float | None) -> float:
        if timeout is None:
            return self.settings.publish_timeout_seconds
        if not timeout > 0:
            raise ConfigurationError(f"a message is published within more than 0 seconds, not {timeout!r}")
        return timeout


class Life:
    """Which phase a bus is in, and what runs in it.

    The stop is a task of its own, in the context that the start was called in: whoever asked for
    it may be cancelled, and it goes on all the same.
    """

    def __init__(self) -> None:
        self.phase = Phase.NEW
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
        """What runs. Raises `BusNotStarted` or `BusStopped`."""
        if (running := self.running) is not None:
            return running
        if self.phase is Phase.STOPPED:
            raise BusStopped("the bus has stopped: nothing can be published any more")
        raise BusNotStarted(
            "the bus has not started: its lifespan has not begun. Include its MessagingRouter in the app, "
            "or use `async with bus:`; in tests, run the app's lifespan or use `async with bus.test():`"
        )

    def refuse_second_start(self) -> None:
        if self.phase is Phase.DRAINING:
            raise BusStateError("the bus is stopping: wait until its stop() is done, then start it again")
        if self.begun:
            raise ConfigurationError(
                "this bus is running already: include its router (or its lifespan) once, in one app"
            )

    async def start(self, parts: Running) -> None:
        """Set `parts` going. Whatever keeps it from that, nothing of them is left running.

        Raises `BusStopped` when it was stopped meanwhile.
        """
        self.refuse_second_start()
        self.phase, self._parts, self._context = Phase.STARTING, parts, copy_context()
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
        """Return once nothing runs any more. Cancelling this ends the waiting, and not the stop."""
        if self._parts is None:
            return
        if asyncio.get_running_loop() is not self._parts.loop:
            raise BusStateError("a bus is stopped on the event loop that it was started on")
        await asyncio.shield(self._stop(then=Phase.STOPPED))

    def _stop(self, then: Phase) -> asyncio.Task[None]:
        """The one task that stops the bus, begun by whoever asks first."""
        if self._stopping is None:
            assert self._parts is not None  # noqa: S101 - asked for by whoever runs
            self.phase = Phase.DRAINING
            self._stopping = self._parts.loop.create_task(
                self._end(self._parts, then), name="convex-stop", context=self._context.copy()
            )
            self._stopping.add_done_callback(_say_why_it_failed)
        return self._stopping

    async def _end(self, parts: Running, then: Phase) -> None:
        try:
            if self._starting is not None:
                self._starting.reschedule(parts.loop.time())  # what it waits for it may never get
                await self._has_started.wait()
            await parts.machine.stop()
        finally:
            self.phase, self._parts = then, None


def _say_why_it_failed(task: asyncio.Task[None]) -> None:
    if task.cancelled():
        logger.error("the stop of the bus was cancelled: something of it may still run")
    elif (error := task.exception()) is not None:
        logger.error("the stop of the bus failed: %r", error, exc_info=error)
