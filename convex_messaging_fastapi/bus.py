"""The public verbs: publish, subscribe, send, receive; and the life that makes them work."""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from convex_messaging_fastapi import misuse
from convex_messaging_fastapi.app_state import register, to_handlers, yielded
from convex_messaging_fastapi.changes import made, undone_by
from convex_messaging_fastapi.clock import Clock, ManualClock, SystemClock
from convex_messaging_fastapi.companions import Companions
from convex_messaging_fastapi.consuming.calling import CallPlan
from convex_messaging_fastapi.declarations import Declarations
from convex_messaging_fastapi.errors import BusStateError, BusStopped, ConfigurationError, DeclarationError
from convex_messaging_fastapi.events import Observer
from convex_messaging_fastapi.life import Life, Running, current_loop
from convex_messaging_fastapi.middleware import Middleware
from convex_messaging_fastapi.observability.watching import observers_of, watch
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.operations import Operations, known_handlers
from convex_messaging_fastapi.other_threads import publish_from_thread, read_beside_the_loop
from convex_messaging_fastapi.parts import MakesDestination, all_of, parts_for, transport_for, verbs_to
from convex_messaging_fastapi.publishing import Publishing, Verbs
from convex_messaging_fastapi.publishing.outgoing import Key, UserHeaders
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.settings import MessagingSettings, load
from convex_messaging_fastapi.status import BusStatus
from convex_messaging_fastapi.subscribers import Declaration, Declares, Joins, Publication, Subscribers
from convex_messaging_fastapi.testing import TestBench, watched
from convex_messaging_fastapi.transport.base import Transport
from convex_messaging_fastapi.unstarted import unstarted
from convex_messaging_fastapi.wiring import Wiring

M = TypeVar("M")


class MessageBus(Declares, Joins):
    """Publishes messages and runs the handlers that are declared on it.

    Making a bus reads no settings and connects to nothing; its start does both. It starts with the
    FastAPI app that includes its `MessagingRouter`, with any ASGI app that uses `bus.lifespan`, or by
    `async with bus:`. `middleware` is wrapped around every attempt of every handler and around every
    publish, the first outermost; `observers` hear of what happens. Raises `ConfigurationError` for an
    argument of another type.

        bus = MessageBus()

        @bus.subscriber("user.created")
        async def send_welcome(event: UserCreated) -> None: ...
    """

    def __init__(
        self,
        settings: MessagingSettings | None = None,
        *,
        middleware: Iterable[Middleware] = (),
        observers: Iterable[Observer] = (),
    ) -> None:
        if settings is not None and not isinstance(settings, MessagingSettings):
            raise ConfigurationError(misuse.no_settings(settings))
        self._settings = settings
        self._middleware = all_of(Middleware, middleware, "middleware")
        self._observers = all_of(Observer, observers, "observers")
        self._declarations = Declarations()
        self._yielded: dict[str, Any] = {}  # what a lifespan around ours shows to handlers
        self._life = Life()
        self.companions: Companions = Companions()
        self._has_published = False  # or tried to
        self._bench: TestBench | None = None
        self._operations: Operations | None = None  # made when somebody asks

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(misuse.no_attribute_of_a_bus(name), name=name, obj=self)

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

        `topic` is without the prefix; `timeout` is seconds (default `publish_timeout_seconds`). Raises
        `PublishFailed` when the message is certainly not written (at once where more than
        `max_pending_bytes` would wait), `PublishUnknown` when it may be written, `EncodeError` when it
        cannot become JSON, `BusStateError` when the bus does not run. Messages of one key keep the order
        of these calls.
        """
        return await self._publishing().publish(topic, message, key, headers, correlation_id, timeout)

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
        """Write many messages at once; returns one receipt each, in the order given.

        `key` may be a function of the message. Not a transaction: when some are not acknowledged
        the others stay written, and `PublishManyError` names which failed and which are unknown.
        None is sent, and all fail, when they would exceed `max_pending_bytes` together with those that
        wait already. A list of more than a thousand is encoded in several turns of the event loop: messages
        that others publish meanwhile may come before its later ones, and its own must not be changed until
        this returns.
        """
        return await self._publishing().publish_many(topic, messages, key, headers, correlation_id, timeout)

    async def tombstone(
        self,
        topic: str,
        *,
        key: str | bytes,
        headers: UserHeaders | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Write a null value, which deletes `key` from a compacted topic; otherwise as `publish`."""
        return await self._publishing().tombstone(topic, key, headers, timeout)

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
        """`publish` for threads other than the event loop's: for a `def` endpoint or a `def` handler.

        Beside what `publish` raises, it raises `PublishUnknown` about a second after `timeout` when the
        bus's event loop is blocked, and `BusStateError` on that loop, which it would block, and in a forked
        child.
        """
        running, loop = self._life.get_in_any_thread()
        if current_loop() in (running.loop, loop):
            raise BusStateError(
                "publish_sync would block the event loop it runs on: use `await bus.publish(...)`"
            )

        def call(seconds: float) -> Coroutine[Any, Any, Receipt]:
            return self.publish(
                topic, message, key=key, headers=headers, correlation_id=correlation_id, timeout=seconds
            )

        publishing = running.parts.publishing
        return publish_from_thread(call, loop, publishing.seconds(timeout), publishing.clock)

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
        """Write a command to a queue: one receiver in the fleet handles it, at least once.

        Otherwise as `publish`.
        """
        return await self.publish(
            queue, message, key=key, headers=headers, correlation_id=correlation_id, timeout=timeout
        )

    # -- declaring -----------------------------------------------------------------------------

    def include(self, subscribers: Subscribers) -> None:
        """Take in the handlers of a module that does not know this bus: all of them, or none.

        Handlers that are declared on `subscribers` later, until the bus starts, are taken in as well.
        Raises `DeclarationError` when `subscribers`, or one of its handlers for the same topic and group,
        is included already, and `BusStateError` while the bus runs.
        """
        self._refuse_while_it_runs()
        self._declarations.include(subscribers, self._declare_late)

    async def unsubscribe(self, subscription_id: str) -> bool:
        """Take a handler away, and wait until it has finished what it began; `False` for an unknown id.

        The handler has `drain_timeout_seconds` for that. Cancelling this call does not cancel the change.
        While the bus stops, this returns at once, because the stop drains every handler. Raises
        `BusStateError`, and changes nothing, in the handler itself, and in another handler of its group
        if the change would rebuild or end the group's consumer: the handler would wait for its own end.
        """
        self._life.refuse_elsewhere()
        declared = self._declarations.get(subscription_id)
        if declared is None:
            return False
        going: asyncio.Task[None] | None = None
        if (running := self._life.running) is not None:
            group = running.parts.naming.group_of(declared)
            going = running.machine.detach(subscription_id, group, running.wiring.asker())
        self._declarations.take_back(declared)
        if going is not None:
            with suppress(BusStopped):
                await made(going)
        return True

    # -- living --------------------------------------------------------------------------------

    async def start(self, app: Any | None = None) -> None:
        """Read the settings and start everything; does not wait for a broker.

        `app` is the ASGI app whose `state` and `dependency_overrides` handlers' dependencies see.
        Raises `ConfigurationError` for settings that contradict each other, and for a second
        start without a stop; `BusStateError` while it stops; `BusStopped` when it was stopped
        meanwhile. A start that fails or is cancelled leaves nothing running.
        """
        if self._bench is not None:
            self._life.refuse_elsewhere()
            return  # the bench of `bus.test()` runs it already
        self._life.refuse_second_start()
        settings, clock = self._read(), SystemClock()
        observers = observers_of(self._observers, settings.client_id)
        await self._start(settings, transport_for(settings, clock, observers), clock, observers, app)

    async def stop(self) -> None:
        """Drain the handlers, commit, flush the producer, leave the groups.

        It takes at most `shutdown_timeout_seconds`. A second call waits for the stop that is under way, and
        does nothing after it; cancelling a call ends only that call's waiting. Raises `BusStateError`, and
        changes nothing, in a handler or in a dependency of one: the stop would wait for that handler.
        """
        self._life.refuse_elsewhere()
        if (running := self._life.running) is not None and (asker := running.wiring.asker()) is not None:
            raise BusStateError(misuse.stop_in_handler(asker.config.id))
        if self._bench is None:
            await self._life.stop()

    @asynccontextmanager
    async def lifespan(
        self, app: Any, state: Mapping[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """An ASGI lifespan: `Starlette(lifespan=bus.lifespan)`, or inside one of your own.

        `state` is what handlers' dependencies find in `conn.state`, beside the bus. Inside `bus.test()`,
        where the bus runs already, it starts nothing, and lets its own event loop publish as well.
        """
        if self._bench is None:
            self._life.refuse_second_start()
        self._yielded.clear()
        self._yielded.update(state or {})
        if self._bench is not None:
            register(app, self, self._life)
            with self._life.guest():
                yield yielded(app, self)
            return
        await self.start(app)
        try:
            yield yielded(app, self)
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
        self._life.refuse_second_start()
        settings = self._read()
        self._bench = bench = TestBench(settings)
        try:
            observers = observers_of(self._observers, settings.client_id)
            await self._start(settings, bench.transport, bench.clock, observers, app)
            bench.watch(self.status, lambda: self.operations, self.companions.turn)
            yield bench
        finally:
            self._life.refuse_elsewhere()
            self._bench = None
            await bench.finish(self._life.stop())

    async def get(self) -> Self:
        """This bus, as a dependency of routes in an app that has several: `Depends(audit_bus.get)`."""
        return self

    def status(self) -> BusStatus:
        """A frozen snapshot of everything that runs; costs no I/O. Any thread of the process may ask."""
        phase = self._life.phase
        if (running := self._life.running) is None:
            return BusStatus(phase, None, (), ())
        return read_beside_the_loop(lambda: running.machine.status(phase, publishes=self._has_published))

    @property
    def operations(self) -> Operations:
        """What an operator may see and do: dead letters, and what became of them.

        Costs nothing until it is used. Raises `BusNotStarted` and `BusStopped`, as `publish` does.
        """
        running = self._life.get()
        if self._operations is None:
            known = partial(known_handlers, self._declarations, running.parts)
            self._operations = Operations(running.parts, known, running.machine)
        return self._operations

    # -- inside --------------------------------------------------------------------------------

    def _read(self) -> MessagingSettings:
        """The settings to start with. Even if they are refused, somebody has tried to start the bus."""
        unstarted.started(self._declarations)
        return self._settings or load()

    async def _start(
        self,
        settings: MessagingSettings,
        transport: Transport,
        clock: Clock,
        observers: Observers,
        app: Any | None,
    ) -> None:
        parts = parts_for(settings, transport, clock, self._middleware, observers)
        wiring = Wiring(parts, app, ChainMap(to_handlers(self), self._yielded), self.companions)
        machine = wiring.machine([(declared, self._plan_of(declared)) for declared in self._declarations])
        here, is_test = asyncio.get_running_loop(), isinstance(clock, ManualClock)
        self._operations = None
        leave = await watch(self._observers, self, clock)
        running = Running(machine, wiring, parts, here, is_test, lambda: self._operations, leave)
        await self._life.start(running)
        register(app, self, self._life)

    def _plan_of(self, declared: Declaration) -> CallPlan:
        plan, bench = self._declarations.plan_of(declared), self._bench
        return plan if bench is None else watched(plan, bench.notes_of(declared.id, declared.handler))

    def _publishing(self) -> Publishing:
        """For a caller that is about to publish. From now on readiness counts the right to write."""
        running = self._life.get()
        self._has_published = True
        return running.parts.publishing

    def _verbs_to(self, destination: MakesDestination) -> Verbs:
        """Verbs that write elsewhere than to the cluster, in any thread, and before the start too."""
        parts = None if self._life.running is None else self._life.running.parts
        return verbs_to(destination, parts, self._settings, self._middleware)

    def _declare(self, declared: Declaration) -> None:
        self._refuse_while_it_runs()
        self._declarations.add(declared)

    def _note(self, published: Publication) -> None:
        self._declarations.note(published)

    def _declare_late(self, declared: Declaration) -> Callable[[], None]:
        if self._life.begun:
            raise DeclarationError(misuse.late(declared.id, declared.kind))
        self._declarations.refuse_second_copy(declared)
        return partial(self._declarations.take_back, self._declarations.add(declared))

    def _refuse_while_it_runs(self) -> None:
        if self._life.begun:
            raise BusStateError("the bus is running: add handlers with `await bus.subscribe(...)` now")

    async def _join(self, declared: Declaration) -> str:
        self._life.refuse_elsewhere()
        running = self._life.get()
        taken = self._declarations.add(declared)
        unstarted.started(self._declarations)
        try:
            running.parts.naming.take_in(self._declarations)
            subscription = running.wiring.subscription(taken, self._plan_of(taken))
            topics, asker = running.wiring.topics_to_create([subscription]), running.wiring.asker()
            coming = running.machine.attach(subscription, topics, asker)
        except BaseException:
            self._declarations.take_back(taken)
            raise
        undone_by(partial(self._declarations.take_back, taken), coming)
        await made(coming)
        return taken.id
