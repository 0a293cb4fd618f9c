"""The public verbs: publish, subscribe, send, receive; and the life that makes them work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from convex_messaging_fastapi.clock import Clock, SystemClock
from convex_messaging_fastapi.consuming.calling import CallPlan, compile_call
from convex_messaging_fastapi.errors import (
    BusNotStarted,
    BusStateError,
    BusStopped,
    ConfigurationError,
)
from convex_messaging_fastapi.machine import Machine
from convex_messaging_fastapi.policies import SubscriberOptions
from convex_messaging_fastapi.publishing.correlation import current_correlation_id
from convex_messaging_fastapi.publishing.outgoing import (
    Key,
    UserHeaders,
    outgoing,
    outgoing_many,
    outgoing_tombstone,
)
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords, Receipt
from convex_messaging_fastapi.settings import MessagingSettings, load
from convex_messaging_fastapi.status import BusStatus, Phase
from convex_messaging_fastapi.subscribers import (
    Choices,
    Declaration,
    F,
    Handler,
    Subscribers,
    declaration,
    declaring,
)
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.transport.base import Transport
from convex_messaging_fastapi.wiring import Wiring, transport_for

M = TypeVar("M")

STATE_KEY = "messaging_bus"
"""Where the running bus is found in an app's `state`."""


@dataclass(frozen=True, slots=True)
class _Running:
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


class MessageBus:
    """Publishes messages and runs the handlers that are declared on it.

    Making one does nothing but remember: settings are read, and connections made, when it starts.
    It starts with the FastAPI app that includes its `MessagingRouter`, with any ASGI app that
    uses `bus.lifespan`, or by `async with bus:`.

        bus = MessageBus()

        @bus.subscriber("user.created")
        async def send_welcome(event: UserCreated) -> None: ...
    """

    def __init__(self, settings: MessagingSettings | None = None) -> None:
        self._settings = settings
        self._declared = Subscribers()
        # Compiled at the declaration, where the names of its annotations can be resolved.
        self._plans: dict[str, CallPlan] = {}
        self._phase = Phase.NEW
        self._running: _Running | None = None
        self._bench: TestBench | None = None

    # -- publishing ----------------------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        message: object,
        *,
        key: Key = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Write one message, and return once every in-sync replica has it.

        `timeout` is seconds (default `publish_timeout_seconds`). Raises `PublishFailed` when the
        message is certainly not written, `PublishUnknown` when it may be, `EncodeError` when it
        cannot become JSON. Messages of one key keep the order of these calls.
        """
        running = self._get_running()
        record = outgoing(message, key, headers, correlation_id, running.machine.clock.unix())
        return await running.write(topic, record, timeout)

    async def publish_many(
        self,
        topic: str,
        messages: Iterable[M],
        *,
        key: Key | Callable[[M], Key] = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> list[Receipt]:
        """Write many messages at once; one receipt each, in the order given.

        `key` may be a function of the message. Not a transaction: when some are not acknowledged
        the others stay written, and `PublishManyError` names which failed and which are unknown.
        More than a thousand are taken in by turns of the loop: what others publish meanwhile may
        come before them, and the messages must not be changed.
        """
        running = self._get_running()
        now = running.machine.clock.unix()
        records = await outgoing_many(messages, key, headers, correlation_id, now)
        return await running.write_many(topic, records, timeout)

    async def tombstone(
        self,
        topic: str,
        *,
        key: str | bytes,
        headers: UserHeaders | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Write a null value: in a compacted topic it deletes what `key` had."""
        running = self._get_running()
        record = outgoing_tombstone(key, headers, running.machine.clock.unix())
        return await running.write(topic, record, timeout)

    def publish_sync(
        self,
        topic: str,
        message: object,
        *,
        key: Key = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """`publish` from another thread: a `def` endpoint or a synchronous handler."""
        loop = self._get_running().loop
        if _current_loop() is loop:
            raise BusStateError(
                "publish_sync would block the event loop it runs on: use `await bus.publish(...)`"
            )
        correlation_id = correlation_id or current_correlation_id()
        call = self.publish(
            topic, message, key=key, headers=headers, correlation_id=correlation_id, timeout=timeout
        )
        return asyncio.run_coroutine_threadsafe(call, loop).result()

    async def send(
        self,
        queue: str,
        message: object,
        *,
        key: Key = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Write a command to a queue: exactly one receiver in the fleet handles it, at least once."""
        return await self.publish(
            queue, message, key=key, headers=headers, correlation_id=correlation_id, timeout=timeout
        )

    # -- declaring -----------------------------------------------------------------------------

    def subscriber(self, *topics: str, **choices: Unpack[Choices]) -> Callable[[F], F]:
        """Declare a handler of events; see `policies.SubscriberOptions` for the choices.

        The function itself stays as it is. Raises `DeclarationError` with the sentence that fixes
        it when the handler asks for something that no message can supply. After the start, use
        `await bus.subscribe(...)`.
        """

        return declaring("event", topics, choices, self._declare)

    def receiver(self, queue: str, **choices: Unpack[Choices]) -> Callable[[F], F]:
        """Declare the one handler of a queue; otherwise as `subscriber`."""
        return declaring("command", (queue,), choices, self._declare)

    def include(self, subscribers: Subscribers) -> None:
        """Take in the handlers of a module that does not know this bus."""
        for declared in subscribers:
            self._declare(declared)

    async def subscribe(self, topic: str, handler: Handler, **choices: Unpack[Choices]) -> str:
        """Add a handler of events while the bus runs; returns the id that `unsubscribe` takes.

        A topic that this group reads already is joined without a rebalance, from the next record
        on; a new one drains the group's consumer and rebuilds it. Cancelling the call does not stop
        it. Do not await it in a handler of the same group: the drain would wait for that handler.
        """
        return await self._join(declaration("event", (topic,), handler, SubscriberOptions(**choices)))

    async def receive(self, queue: str, handler: Handler, **choices: Unpack[Choices]) -> str:
        """Add the one handler of a queue while the bus runs; otherwise as `subscribe`."""
        return await self._join(declaration("command", (queue,), handler, SubscriberOptions(**choices)))

    async def unsubscribe(self, subscription_id: str) -> bool:
        """Take a handler away once what it has begun is finished; `False` for an unknown id.

        It has `drain_timeout_seconds` for that. Cancelling the call does not stop it. Do not await
        it in the handler itself, which would wait for its own end.
        """
        if not self._remove(subscription_id):
            return False
        if self._running is not None:
            await self._running.machine.detach(subscription_id)
        return True

    # -- living --------------------------------------------------------------------------------

    async def start(self, app: Any | None = None) -> None:
        """Read the settings and set everything going; waits for no broker.

        `app` is the ASGI app whose `state` and `dependency_overrides` handlers' dependencies see.
        Raises `ConfigurationError` for settings that contradict each other, and for a second
        start without a stop.
        """
        if self._bench is not None:
            return  # the bench of `bus.test()` runs it already; an app's lifespan only joins in
        self._refuse_second_start()
        settings = self._settings or load()
        clock = SystemClock()
        await self._start(settings, transport_for(settings, clock), clock, app)

    async def stop(self) -> None:
        """Drain, commit, flush, leave; at most `shutdown_timeout_seconds`. Idempotent."""
        if self._bench is None:
            await self._stop()

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[dict[str, Any]]:
        """An ASGI lifespan: `Starlette(lifespan=bus.lifespan)`, or inside one of your own."""
        await self.start(app)
        try:
            yield {STATE_KEY: self}
        finally:
            await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @asynccontextmanager
    async def test(self, app: Any | None = None) -> AsyncIterator[TestBench]:
        """Run on an in-process broker and a clock that only `settle` and `advance` turn.

        async with bus.test() as t:
            await bus.publish("user.created", event)
            await t.settle()
            assert t.dead_letters() == []
        """
        self._refuse_second_start()
        settings = self._settings or load()
        bench = TestBench(settings)
        await self._start(settings, bench.transport, bench.clock, app)
        bench.watch(self.status)
        self._bench = bench
        try:
            yield bench
        finally:
            self._bench = None
            await bench.finish(self._stop())

    def status(self) -> BusStatus:
        """A frozen snapshot of everything that runs; costs no I/O."""
        if self._running is None:
            return BusStatus(self._phase, None, (), ())
        return self._running.machine.status(self._phase)

    # -- inside --------------------------------------------------------------------------------

    async def _start(
        self, settings: MessagingSettings, transport: Transport, clock: Clock, app: Any | None
    ) -> None:
        wiring = Wiring(settings, transport, clock, app, {STATE_KEY: self})
        machine = wiring.machine([(declared, self._plans[declared.id]) for declared in self._declared])
        self._phase = Phase.STARTING
        try:
            await machine.start()
        except BaseException:
            self._phase = Phase.NEW
            await machine.stop()
            raise
        self._running = _Running(machine, wiring, settings, asyncio.get_running_loop())
        if (state := getattr(app, "state", None)) is not None:
            # httpx.ASGITransport never fills a request's state from the lifespan: `get_bus` looks here too.
            setattr(state, STATE_KEY, self)
        self._phase = Phase.RUNNING

    async def _stop(self) -> None:
        running = self._running
        if running is None or self._phase is not Phase.RUNNING:
            return
        self._phase = Phase.DRAINING
        try:
            await running.machine.stop()
        finally:
            self._phase = Phase.STOPPED
            self._running = None

    def _refuse_second_start(self) -> None:
        if self._running is not None or self._phase in (Phase.STARTING, Phase.DRAINING):
            raise ConfigurationError(
                "this bus is running already: include its router (or its lifespan) once, in one app"
            )

    def _get_running(self) -> _Running:
        if self._running is not None:
            return self._running
        if self._phase is Phase.STOPPED:
            raise BusStopped("the bus has stopped: nothing can be published any more")
        raise BusNotStarted(
            "the bus has not started: its lifespan has not begun. Include its MessagingRouter in the app, "
            "or use `async with bus:`; in tests, run the app's lifespan or use `async with bus.test():`"
        )

    def _declare(self, declared: Declaration) -> None:
        if self._running is not None:
            raise BusStateError("the bus is running: add handlers with `await bus.subscribe(...)` now")
        self._add(declared)

    async def _join(self, declared: Declaration) -> str:
        running = self._get_running()
        taken = self._add(declared)
        subscription = running.wiring.subscription(taken, self._plans[taken.id])
        try:
            await running.machine.attach(subscription, running.wiring.topics_to_create([subscription]))
        except BusStopped:
            self._remove(taken.id)
            raise
        return taken.id

    def _remove(self, id: str) -> bool:
        return self._declared.remove(id) is not None and self._plans.pop(id, None) is not None

    def _add(self, declared: Declaration) -> Declaration:
        plan = compile_call(declared.handler, batch=declared.options.batch is not None)
        taken = self._declared.add(declared)
        self._plans[taken.id] = plan
        return taken


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # how asyncio says that this thread runs none
        return None
