"""The stop: one for all who ask, in time whatever is under way, and nothing left or begun after it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from fastapi import Depends, FastAPI

from convex_messaging_fastapi import (
    Batch,
    BusStateError,
    BusStopped,
    MessageBus,
    Retry,
)
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.status import Phase
from convex_messaging_fastapi.transport.memory import MemoryBroker, shared_broker
from tests.bus.support import Bet, memory_bus
from tests.support.leftovers import going
from tests.support.waiting import eventually

DRAIN, SHUTDOWN, LATE = 0.3, 0.8, 1.0
"""Seconds; `LATE` is what a machine that is busy with other things may add."""


class Scene:
    """A bus on a broker that the test can see, with a handler that waits at a gate."""

    def __init__(self) -> None:
        self.name = f"stopping-{id(self)}"
        self.broker: MemoryBroker = shared_broker(self.name, SystemClock())
        self.bus = memory_bus(
            bootstrap_servers=f"memory://{self.name}",
            drain_timeout_seconds=DRAIN,
            shutdown_timeout_seconds=SHUTDOWN,
            revoke_drain_seconds=DRAIN,
            create_topics=True,
        )
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.calls = 0
        self.ends = AsyncExitStack()
        self.others: list[asyncio.Task[Any]] = []

    async def handle(self, bet: Bet) -> None:
        self.calls += 1
        self.begun.set()
        await self.gate.wait()

    async def with_a_handler_at_work(self) -> str:
        id = await self.bus.subscribe("bet.placed", self.handle, retry=Retry(attempts=1))
        await self.bus.publish("bet.placed", Bet(bet_id=1), key="ada")
        await asyncio.wait_for(self.begun.wait(), 5)
        return id

    def meanwhile(self, call: Coroutine[Any, Any, Any]) -> None:
        self.others.append(asyncio.create_task(call))

    async def settled(self) -> None:
        """Whatever was asked of the bus meanwhile has got its answer."""
        await asyncio.wait_for(asyncio.gather(*self.others, return_exceptions=True), 5)


async def nothing(scene: Scene) -> None:
    """A bus without a handler."""


async def just_joined(scene: Scene) -> None:
    await scene.bus.subscribe("bet.placed", scene.handle)


async def a_handler_at_work(scene: Scene) -> None:
    await scene.with_a_handler_at_work()


async def a_thread_at_work(scene: Scene) -> None:
    opened, loop = threading.Event(), asyncio.get_running_loop()
    scene.ends.callback(opened.set)

    def handle(bet: Bet) -> None:
        loop.call_soon_threadsafe(scene.begun.set)
        opened.wait(5)

    await scene.bus.subscribe("bet.placed", handle)
    await scene.bus.publish("bet.placed", Bet(bet_id=1))
    await asyncio.wait_for(scene.begun.wait(), 5)


async def a_subscribe_that_drains(scene: Scene) -> None:
    await scene.with_a_handler_at_work()
    scene.meanwhile(scene.bus.subscribe("bet.won", scene.handle))
    await turns()


async def a_subscribe_to_what_is_read(scene: Scene) -> None:
    await scene.with_a_handler_at_work()
    scene.meanwhile(scene.bus.subscribe("bet.placed", scene.handle))


async def a_new_group(scene: Scene) -> None:
    await scene.with_a_handler_at_work()
    scene.meanwhile(scene.bus.subscribe("bet.won", scene.handle, group="another"))


async def an_unsubscribe(scene: Scene) -> None:
    id = await scene.with_a_handler_at_work()
    scene.meanwhile(scene.bus.unsubscribe(id))
    await turns()


async def changes_in_the_queue(scene: Scene) -> None:
    id = await scene.with_a_handler_at_work()
    scene.meanwhile(scene.bus.subscribe("bet.won", scene.handle))
    scene.meanwhile(scene.bus.unsubscribe(id))
    scene.meanwhile(scene.bus.subscribe("bet.lost", scene.handle))
    await turns()


async def an_outage(scene: Scene) -> None:
    await scene.with_a_handler_at_work()
    scene.broker.down()
    scene.ends.callback(scene.broker.up)
    for bet_id in range(3):
        scene.meanwhile(scene.bus.publish("bet.won", Bet(bet_id=bet_id)))
    await turns()


async def topics_being_made(scene: Scene) -> None:
    scene.broker.down()
    scene.ends.callback(scene.broker.up)
    await scene.bus.subscribe("bet.placed", scene.handle)
    await turns()


async def letters_that_fail(scene: Scene) -> None:
    async def fail(bet: Bet) -> None:
        scene.calls += 1
        raise ValueError("no")

    scene.broker.refuse("convex.dlq", 1_000)
    await scene.bus.subscribe("bet.placed", fail, retry=Retry(attempts=1))
    await scene.bus.publish("bet.placed", Bet(bet_id=1))
    await eventually(lambda: scene.calls, 5, "the handler to fail")


async def a_batch_that_gathers(scene: Scene) -> None:
    async def handle(bets: list[Bet]) -> None:
        scene.calls += 1

    batch = Batch(max_records=10, max_wait_seconds=60)
    await scene.bus.subscribe("bet.placed", handle, batch=batch)
    await scene.bus.publish("bet.placed", Bet(bet_id=1))
    await turns()


SITUATIONS = (
    nothing,
    just_joined,
    a_handler_at_work,
    a_thread_at_work,
    a_subscribe_that_drains,
    a_subscribe_to_what_is_read,
    a_new_group,
    an_unsubscribe,
    changes_in_the_queue,
    an_outage,
    topics_being_made,
    letters_that_fail,
    a_batch_that_gathers,
)


async def once(bus: MessageBus) -> None:
    await bus.stop()


async def by_several(bus: MessageBus) -> None:
    first, second = asyncio.create_task(bus.stop()), asyncio.create_task(bus.stop())
    await turns()
    await bus.stop()
    assert first.done(), "whoever asks for the stop waits for its end"
    await asyncio.gather(first, second)


async def with_the_first_caller_cancelled(bus: MessageBus) -> None:
    first = asyncio.create_task(bus.stop())
    await turns()
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    await bus.stop()


async def by_a_failing_lifespan(bus: MessageBus) -> None:
    """`async with bus:` and `bus.lifespan` end the same way: the error comes out when all has ended."""
    with pytest.raises(ZeroDivisionError):
        async with stopping(bus):
            raise ZeroDivisionError


@asynccontextmanager
async def stopping(bus: MessageBus) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await bus.__aexit__(None, None, None)


WAYS = (once, by_several, with_the_first_caller_cancelled, by_a_failing_lifespan)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_a_stop_is_in_time_and_leaves_nothing_in_whatever_state_the_bus_is(
    situation: Callable[[Scene], Awaitable[None]], way: Callable[[MessageBus], Awaitable[None]]
) -> None:
    before = going()
    scene = Scene()
    async with scene.ends:
        await scene.bus.start()
        await situation(scene)

        asked_at = time.monotonic()
        await way(scene.bus)
        took = time.monotonic() - asked_at

        assert took < SHUTDOWN + LATE
        assert scene.bus.status().phase is Phase.STOPPED
        calls = scene.calls
        await scene.settled()
    await eventually(lambda: not going().since(before), 5, "an end of everything")
    scene.gate.set()
    await turns()
    assert scene.calls == calls, "nothing is begun after the stop"
    with pytest.raises(BusStopped):
        await scene.bus.publish("bet.placed", Bet(bet_id=9))
    async with scene.bus:
        assert scene.bus.status().phase is Phase.RUNNING, "and it can be started again"


async def test_right_after_the_stop_no_task_and_no_publisher_is_left() -> None:
    before = going()
    scene = Scene()
    await scene.bus.start()
    await changes_in_the_queue(scene)
    await scene.bus.stop()
    await scene.settled()
    assert going().since(before) == ""


async def test_while_it_stops_it_cannot_be_started_and_takes_in_nothing() -> None:
    scene = Scene()
    await scene.bus.start()
    await scene.with_a_handler_at_work()
    stopping = asyncio.create_task(scene.bus.stop())
    await turns()

    with pytest.raises(BusStateError, match="is stopping"):
        await scene.bus.start()
    with pytest.raises(BusStateError, match="is stopping"):
        async with scene.bus.test():
            pytest.fail("the bench must not start")
    with pytest.raises(BusStopped):
        await scene.bus.subscribe("bet.won", scene.handle)
    assert scene.calls == 1
    scene.gate.set()
    await stopping


async def test_a_stop_that_is_cancelled_again_and_again_goes_on() -> None:
    before = going()
    scene = Scene()
    await scene.bus.start()
    await scene.with_a_handler_at_work()
    for _ in range(3):
        with suppress(TimeoutError):
            await asyncio.wait_for(scene.bus.stop(), 0.01)
    assert scene.bus.status().phase is Phase.DRAINING
    scene.gate.set()
    await scene.bus.stop()
    assert going().since(before) == ""


async def test_when_every_task_is_cancelled_the_stop_included_nothing_is_left() -> None:
    """As `asyncio.run` does at its end, when a stop has lost its caller."""
    before = going()
    scene = Scene()
    await scene.bus.start()
    await scene.with_a_handler_at_work()
    asyncio.create_task(scene.bus.stop())  # noqa: RUF006 - it is cancelled below
    await turns()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await eventually(lambda: not going().since(before), 5, "an end of everything")


@pytest.mark.parametrize("broken", ["worker", "publisher"])
async def test_a_step_that_fails_keeps_no_other_from_its_turn(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = going()
    scene = Scene()
    await scene.bus.start()
    await just_joined(scene)
    machine = machine_of(scene.bus)
    part: Any = (
        machine._publishing._company.publishing._publisher._producer
        if broken == "publisher"
        else machine._workers["bets"].transport
    )
    end = part.stop
    failures = [ZeroDivisionError("a defect")]

    async def fail_once(deadline: float) -> None:
        if failures:
            raise failures.pop()
        await end(deadline)

    part.stop = fail_once
    await scene.bus.stop()
    assert "a defect" in caplog.text
    assert going().since(before) == ""
    assert scene.bus.status().phase is Phase.STOPPED


@pytest.mark.parametrize("verb", ["subscribe", "unsubscribe"])
async def test_a_change_that_does_not_come_to_its_end_is_given_up_and_its_caller_told(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = going()
    scene = Scene()
    await scene.bus.start()
    id = await scene.bus.subscribe("bet.placed", scene.handle)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Worker, "attach" if verb == "subscribe" else "detach", never)
    asked = scene.bus.subscribe("bet.won", scene.handle) if verb == "subscribe" else scene.bus.unsubscribe(id)
    asking = asyncio.create_task(outcome_of(asked))
    await turns()
    asked_at = time.monotonic()
    await scene.bus.stop()
    assert time.monotonic() - asked_at < SHUTDOWN + LATE
    answer = await asking
    assert isinstance(answer, BusStopped) if verb == "subscribe" else answer is True
    assert going().since(before) == ""


async def test_a_stop_amid_a_start_ends_the_start() -> None:
    before = going()
    scene = Scene()
    scene.bus.subscriber("bet.placed")(scene.handle)
    arrived = asyncio.Event()

    class NeverStarts:
        async def start(self, *_: object) -> None:
            arrived.set()
            await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "convex_messaging_fastapi.transport.memory.consumer.MemoryConsumer.start", NeverStarts.start
        )
        starting = asyncio.create_task(scene.bus.start())
        await arrived.wait()
        assert scene.bus.status().phase is Phase.STARTING
        await scene.bus.stop()
        with pytest.raises(BusStopped):
            await starting
    assert scene.bus.status().phase is Phase.STOPPED
    assert going().since(before) == ""


@pytest.mark.parametrize("ends", ["fails", "is cancelled"])
async def test_a_start_that_does_not_come_to_its_end_leaves_nothing(ends: str) -> None:
    before = going()
    scene = Scene()
    scene.bus.subscriber("bet.placed")(scene.handle)
    arrived = asyncio.Event()

    async def start(*_: object) -> None:
        arrived.set()
        if ends == "fails":
            raise ZeroDivisionError
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convex_messaging_fastapi.transport.memory.consumer.MemoryConsumer.start", start)
        starting = asyncio.create_task(scene.bus.start())
        await arrived.wait()
        if ends == "is cancelled":
            starting.cancel()
        with pytest.raises((ZeroDivisionError, asyncio.CancelledError)):
            await starting
    assert scene.bus.status().phase is Phase.NEW
    assert going().since(before) == ""
    async with scene.bus:
        assert scene.bus.status().phase is Phase.RUNNING


async def test_a_bench_whose_test_is_cancelled_stops_all_the_same() -> None:
    before = going()
    bus, begun = memory_bus(), asyncio.Event()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def tested() -> None:
        async with bus.test():
            await bus.publish("bet.placed", Bet(bet_id=1))
            await begun.wait()

    testing = asyncio.create_task(tested())
    await begun.wait()
    await turns()
    testing.cancel()
    await asyncio.wait([testing])
    # First what costs nothing to look at: to count everything takes long in a process with much in it.
    await eventually(lambda: bus.status().phase is Phase.STOPPED, 10, "an end of the bus")
    await eventually(lambda: not going().since(before), 10, "an end of everything")


# -- in a handler -----------------------------------------------------------------------------------

Asks = Callable[[MessageBus, Callable[[], Coroutine[Any, Any, Any]]], Any]


async def directly(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    await call()


async def with_a_time_limit(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    await asyncio.wait_for(call(), 5)


async def together_with_others(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    await asyncio.gather(call(), asyncio.sleep(0))


async def in_a_task(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    await asyncio.create_task(call())


async def from_a_thread_of_another_kind(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(call(), loop).result(5))


ROUTES = (
    directly,
    with_a_time_limit,
    together_with_others,
    in_a_task,
    from_a_thread_of_another_kind,
)


async def refused_in_a_handler(bus: MessageBus, register: Callable[[list[Any]], None]) -> Any:
    """What the call that `register` makes in a handler came to."""
    heard: list[Any] = []
    register(heard)
    async with bus:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await eventually(lambda: heard, 5, "the handler to ask")
        assert bus.status().phase is Phase.RUNNING, "nothing has changed"
        await bus.publish("bet.placed", Bet(bet_id=2))
        await eventually(lambda: len(heard) == 2, 5, "the next message to be handled")
    return heard[0]


async def outcome_of(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error


@pytest.mark.parametrize("route", ROUTES)
async def test_a_stop_in_a_handler_is_refused_by_whatever_way_it_comes(
    route: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Awaitable[None]],
) -> None:
    bus = memory_bus()

    def register(heard: list[Any]) -> None:
        @bus.subscriber("bet.placed", id="the one that asks")
        async def handle(bet: Bet) -> None:
            heard.append(await outcome_of(route(bus.stop)))

    refused = await refused_in_a_handler(bus, register)
    assert isinstance(refused, BusStateError)
    assert "'the one that asks' cannot stop the bus" in str(refused)


async def test_a_stop_in_a_synchronous_handler_is_refused() -> None:
    bus, loop = memory_bus(), asyncio.get_running_loop()

    def register(heard: list[Any]) -> None:
        @bus.subscriber("bet.placed")
        def handle(bet: Bet) -> None:
            heard.append(asyncio.run_coroutine_threadsafe(outcome_of(bus.stop()), loop).result(5))

    assert isinstance(await refused_in_a_handler(bus, register), BusStateError)


async def test_a_stop_on_a_loop_of_the_handlers_own_is_refused() -> None:
    bus = memory_bus()

    def register(heard: list[Any]) -> None:
        @bus.subscriber("bet.placed")
        def handle(bet: Bet) -> None:
            heard.append(asyncio.run(outcome_of(bus.stop())))

    assert isinstance(await refused_in_a_handler(bus, register), BusStateError)


@pytest.mark.parametrize("at", ["before", "after"])
async def test_a_stop_in_a_dependency_is_refused(at: str) -> None:
    bus = memory_bus()

    def register(heard: list[Any]) -> None:
        async def dependency() -> AsyncIterator[None]:
            if at == "before":
                heard.append(await outcome_of(bus.stop()))
            yield
            if at == "after":
                heard.append(await outcome_of(bus.stop()))

        @bus.subscriber("bet.placed")
        async def handle(bet: Bet, _: None = Depends(dependency)) -> None: ...

    assert isinstance(await refused_in_a_handler(bus, register), BusStateError)


async def test_a_stop_in_a_batch_and_under_a_time_limit_is_refused() -> None:
    bus = memory_bus()

    def register(heard: list[Any]) -> None:
        @bus.subscriber("bet.placed", batch=Batch(max_records=1, max_wait_seconds=1), timeout=5)
        async def handle(bets: list[Bet]) -> None:
            heard.append(await outcome_of(bus.stop()))

    assert isinstance(await refused_in_a_handler(bus, register), BusStateError)


async def test_in_a_bench_it_is_refused_as_anywhere() -> None:
    bus, heard = memory_bus(), list[Any]()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        heard.append(await outcome_of(bus.stop()))

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()
    assert isinstance(heard[0], BusStateError)


async def test_a_task_that_a_handler_left_behind_may_stop_the_bus_once_the_handler_has_returned() -> None:
    bus, left = memory_bus(), list[asyncio.Task[None]]()
    done = asyncio.Event()

    async def stop_later() -> None:
        await done.wait()
        await bus.stop()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        left.append(asyncio.create_task(stop_later()))

    await bus.start()
    await bus.publish("bet.placed", Bet(bet_id=1))
    await eventually(lambda: bus.status().workers[0].subscriptions[0].handled, 5, "the handler to return")
    done.set()
    await asyncio.wait_for(left[0], 5)
    assert bus.status().phase is Phase.STOPPED


async def test_a_handler_may_stop_another_bus() -> None:
    bus, other, heard = memory_bus(), memory_bus(), list[Any]()

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        heard.append(await outcome_of(other.stop()))

    async with bus, other:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await eventually(lambda: heard, 5, "the handler to ask")
        assert heard == [None]
        assert other.status().phase is Phase.STOPPED


async def test_the_apps_lifespan_waits_for_a_stop_that_somebody_else_has_begun() -> None:
    scene = Scene()
    app = FastAPI()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(scene.bus.lifespan(app))
        await scene.with_a_handler_at_work()
        scene.meanwhile(scene.bus.stop())
        await turns()
    assert scene.others[0].done()
    assert scene.bus.status().phase is Phase.STOPPED


def machine_of(bus: MessageBus) -> Any:
    running = bus._life.running
    assert running is not None
    return running.machine


async def turns() -> None:
    """Let everything go on that does not wait for time."""
    for _ in range(50):
        await asyncio.sleep(0)
