"""A bus works on the event loop that it was started on; anywhere else each awaited verb says so at once."""

from __future__ import annotations

import asyncio
import inspect
import json
import multiprocessing
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from convex_messaging_fastapi import (
    BusStateError,
    ConfigurationError,
    MessageBus,
    PublishFailed,
    PublishUnknown,
    other_threads,
)
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.other_threads import publish_from_thread, read_beside_the_loop
from convex_messaging_fastapi.status import Phase
from tests.bus.support import memory_bus
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster

CAN_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


async def ignore(message: dict[str, Any]) -> None:
    """A handler that does nothing."""


async def through(context: Any) -> None:
    async with context:
        pass


CALLS: Mapping[str, Callable[[MessageBus], Awaitable[object]]] = {
    "publish": lambda bus: bus.publish("t", {}),
    "publish_many": lambda bus: bus.publish_many("t", [{}]),
    "tombstone": lambda bus: bus.tombstone("t", key="k"),
    "send": lambda bus: bus.send("q", {}),
    "subscribe": lambda bus: bus.subscribe("t", ignore),
    "receive": lambda bus: bus.receive("q", ignore),
    "unsubscribe": lambda bus: bus.unsubscribe("no such id"),
    "start": lambda bus: bus.start(),
    "stop": lambda bus: bus.stop(),
    "lifespan": lambda bus: through(bus.lifespan(None)),
    "test": lambda bus: through(bus.test()),
    "__aenter__": lambda bus: bus.__aenter__(),
    "__aexit__": lambda bus: bus.__aexit__(None, None, None),
}


def verbs() -> Iterator[str]:
    """Whatever of a bus is awaited or entered with `async with`, of its own class and those above."""
    for name, member in inspect.getmembers(MessageBus, inspect.isfunction):
        written = inspect.unwrap(member)
        is_awaited = inspect.iscoroutinefunction(written) or inspect.isasyncgenfunction(written)
        if is_awaited and (not name.startswith("_") or name.startswith("__")):
            yield name


NO_VERB = "get"
"""A dependency: it hands out the bus on whatever loop a request is served."""


def test_every_awaited_verb_is_called_here() -> None:
    assert set(CALLS) == set(verbs()) - {NO_VERB}


async def test_a_bus_is_handed_out_on_every_loop() -> None:
    bus = memory_bus()
    async with bus:
        assert await asyncio.to_thread(asyncio.run, bus.get()) is bus


Heard = tuple[str, str]
"""The kind of error that was raised, and its sentence."""


def told(call: Callable[[], Awaitable[object]]) -> Heard:
    """What the first step of a call says on an event loop of its own: who waits does not say it at once."""
    try:
        asyncio.run(_first_step(call))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        return type(error).__name__, str(error)
    return "nothing", ""


async def _first_step(call: Callable[[], Awaitable[object]]) -> None:
    steps = call().__await__()
    with suppress(StopIteration):
        next(steps)
        raise AssertionError("it waits")


def assert_refused(heard: Mapping[str, Heard], because: str) -> None:
    for name, (kind, sentence) in heard.items():
        assert kind == "BusStateError", f"{name}: {kind}: {sentence}"
        assert because in sentence, f"{name}: {sentence}"
        assert "publish_sync" in sentence, f"{name}: {sentence}"


async def on_another_loop(bus: MessageBus) -> dict[str, Heard]:
    return {name: await asyncio.to_thread(told, partial(call, bus)) for name, call in CALLS.items()}


async def still_works(bus: MessageBus) -> None:
    assert bus.status().phase is Phase.RUNNING
    await bus.publish("t", {"after": "all that"})


async def test_on_another_event_loop_every_verb_is_refused_at_once() -> None:
    bus = memory_bus()
    async with bus:
        assert_refused(await on_another_loop(bus), "another event loop")
        await still_works(bus)


async def test_on_the_bench_the_sentence_tells_of_loop_scopes() -> None:
    bus = memory_bus()
    async with bus.test() as bench:
        heard = await on_another_loop(bus)
        del heard["lifespan"]  # an app's lifespan joins the bench, wherever it runs
        assert_refused(heard, "one loop scope")
        await still_works(bus)
        assert bench.published("t") == [{"after": "all that"}], "nothing of the refused was written"


def kafka_bus(kafka: Cluster, name: str) -> MessageBus:
    return memory_bus(
        bootstrap_servers=kafka.bootstrap, topic_prefix=name, consumer_group=name, create_topics=True
    )


async def test_on_another_event_loop_every_verb_is_refused_on_kafka_too(kafka: Cluster, unique: str) -> None:
    bus = kafka_bus(kafka, unique)
    async with bus:
        await bus.publish("t", {})
        assert_refused(await on_another_loop(bus), "another event loop")
        await still_works(bus)


@pytest.mark.parametrize("phase", ["before the start", "after the stop"])
async def test_a_bus_that_does_not_run_is_at_home_everywhere(phase: str) -> None:
    bus = memory_bus()
    if phase == "after the stop":
        async with bus:
            pass
    assert await asyncio.to_thread(told, bus.stop) == ("nothing", "")
    await asyncio.to_thread(asyncio.run, through(bus))


async def test_any_thread_may_look_at_the_status_while_everything_changes() -> None:
    bus, over = memory_bus(), threading.Event()
    handled: list[Any] = []
    looks: list[Phase] = []

    def look() -> None:
        while not over.is_set():
            looks.append(bus.status().phase)

    async def handle(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        handled.append(message)

    interval = sys.getswitchinterval()
    async with bus:
        looking = asyncio.ensure_future(asyncio.to_thread(look))
        sys.setswitchinterval(1e-6)
        try:
            await bus.subscribe("t", handle)
            for n in range(5):
                id = await bus.subscribe(f"other.{n}", ignore)
                await bus.publish_many("t", [{}] * 200)
                await bus.unsubscribe(id)
            await eventually(lambda: len(handled) >= 1000, 60, "everything to be handled")
        finally:
            sys.setswitchinterval(interval)
            over.set()
            await looking
    assert len(handled) == 1000
    assert set(looks) == {Phase.RUNNING}


def test_a_look_that_met_a_change_is_taken_again() -> None:
    changes = iter([RuntimeError("dictionary changed size during iteration")] * 3)

    def draw() -> str:
        for change in changes:
            raise change
        return "drawn"

    assert read_beside_the_loop(draw) == "drawn"


def test_a_look_that_is_broken_raises() -> None:
    def draw() -> str:
        raise RuntimeError("always")

    with pytest.raises(RuntimeError, match="always"):
        read_beside_the_loop(draw)


# -- forks -----------------------------------------------------------------------------------------


def in_a_forked_child(ask: Callable[[], object]) -> Any:
    """What `ask()` returns in a child of this process; none of our exits run there."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is the point
        child = os.fork()
    if not child:
        try:
            answer = json.dumps(ask())
        except BaseException:  # noqa: BLE001 - the parent tells it
            answer = json.dumps({"the child": ["failed", traceback.format_exc()]})
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer)


def everything_in_a_child(bus: MessageBus) -> dict[str, Heard]:
    heard = {name: told(partial(call, bus)) for name, call in CALLS.items()}
    bus.status()
    return heard | {"publish_sync": raised(partial(bus.publish_sync, "t", {}))}


def raised(call: Callable[[], object]) -> Heard:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        return type(error).__name__, str(error)
    return "nothing", ""


@CAN_FORK
async def test_in_a_forked_child_every_verb_is_refused_at_once() -> None:
    bus = memory_bus()
    async with bus:
        assert_refused(in_a_forked_child(lambda: everything_in_a_child(bus)), "forked")
        await still_works(bus)


@CAN_FORK
async def test_in_a_forked_child_every_verb_is_refused_on_kafka_too(kafka: Cluster, unique: str) -> None:
    bus = kafka_bus(kafka, unique)
    async with bus:
        await bus.publish("t", {})
        assert_refused(in_a_forked_child(lambda: everything_in_a_child(bus)), "forked")
        await still_works(bus)


@CAN_FORK
def test_a_forked_child_that_goes_on_with_the_same_loop_is_refused_as_well() -> None:
    bus = memory_bus()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(bus.start())

    def ask() -> object:
        return {"publish": raised(lambda: loop.run_until_complete(bus.publish("t", {})))}

    try:
        assert_refused(in_a_forked_child(ask), "forked")
    finally:
        loop.run_until_complete(bus.stop())
        loop.close()


@CAN_FORK
async def test_a_coroutine_that_goes_on_in_the_child_is_refused_as_well() -> None:
    bus = memory_bus()
    async with bus:
        assert_refused(
            in_a_forked_child(lambda: {"publish": raised(lambda: bus.publish("t", {}).send(None))}), "forked"
        )


@CAN_FORK
async def test_a_process_of_multiprocessing_is_refused_too() -> None:
    bus = memory_bus()
    context = multiprocessing.get_context("fork")
    async with bus:
        reading, writing = context.Pipe(duplex=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = context.Process(target=lambda: writing.send(everything_in_a_child(bus)))
            child.start()
        heard = await asyncio.to_thread(reading.recv)
        child.join()
        assert_refused(heard, "forked")


@CAN_FORK
async def test_a_child_may_start_what_its_parent_has_not_started() -> None:
    """As under gunicorn --preload."""
    bus = memory_bus()

    def ask() -> object:
        asyncio.run(_published(bus))
        return "published"

    assert in_a_forked_child(ask) == "published"


async def _published(bus: MessageBus) -> None:
    async with bus:
        await bus.publish("t", {})
        await asyncio.to_thread(bus.publish_sync, "t", {})


# -- publish_sync ----------------------------------------------------------------------------------


class Blocked:
    """An event loop in a thread of its own that runs a bus, and stands still when it is told to."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self.loop = asyncio.new_event_loop()
        self.may_go_on = threading.Event()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> Blocked:
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.bus.start(), self.loop).result()
        stands = threading.Event()

        def block() -> None:
            stands.set()
            self.may_go_on.wait()

        self.loop.call_soon_threadsafe(block)
        stands.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_go_on.set()
        asyncio.run_coroutine_threadsafe(self.bus.stop(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def test_publish_sync_gives_up_a_loop_that_does_not_answer() -> None:
    bus = memory_bus(publish_timeout_seconds=0.3)
    with Blocked(bus):
        for timeout in (None, 0.2):
            began = time.monotonic()
            with pytest.raises(
                PublishUnknown, match="event loop has not answered for 1 s: something blocks it"
            ):
                bus.publish_sync("t", {}, timeout=timeout)
            assert time.monotonic() - began < 10, "a bound of safety: about a second"


def test_what_publish_sync_has_given_up_before_it_began_is_not_published_later() -> None:
    bus = memory_bus(bootstrap_servers="memory://given-up")
    with Blocked(bus) as blocked:
        with suppress(PublishUnknown):
            bus.publish_sync("t", {}, timeout=0.1)
        blocked.may_go_on.set()
        receipt = bus.publish_sync("t", {"later": True})
        assert receipt.offset == 0


def test_the_time_that_a_loop_was_blocked_counts() -> None:
    """Too late for its `timeout`, and in time to say so."""
    loop = asyncio.new_event_loop()
    clock = SystemClock()
    times = iter([0.0, 7.0])
    clock.now = lambda: next(times)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def call(seconds: float) -> float:
        return seconds

    try:
        with pytest.raises(PublishFailed, match="certainly not written"):
            publish_from_thread(call, loop, 5.0, clock)
        times = iter([0.0, 2.0])
        assert publish_from_thread(call, loop, 5.0, clock) == 3.0
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    with pytest.raises(BusStateError, match="closed before the bus was stopped"):
        publish_from_thread(call, loop, 5.0, SystemClock())


@pytest.mark.parametrize("cancels", [True, False], ids=["cancels what it runs", "leaves what it runs"])
def test_the_sentence_says_so_when_the_loop_has_ended_meanwhile(cancels: bool) -> None:
    loop = asyncio.new_event_loop()

    async def call(seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        if cancels:
            task.add_done_callback(lambda _: loop.stop())
            task.cancel()
        else:
            loop.stop()
        await asyncio.Event().wait()

    def run() -> None:
        loop.run_forever()
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    with pytest.raises(PublishUnknown, match="event loop ended while a message was being published"):
        publish_from_thread(call, loop, 0.1, SystemClock())
    thread.join()


async def test_a_publish_that_outlasts_its_timeout_by_the_clock_of_a_test_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus, asked = memory_bus(), threading.Event()
    answers = other_threads._answers

    def ask(loop: asyncio.AbstractEventLoop) -> bool:
        asked.set()
        return answers(loop)

    monkeypatch.setattr(other_threads, "_answers", ask)
    monkeypatch.setattr(other_threads, "ANSWER_SECONDS", 5.0)  # for a machine that is busy with other things
    async with bus.test() as bench:
        bench.broker.down()
        publishing = asyncio.ensure_future(asyncio.to_thread(bus.publish_sync, "t", {}, timeout=0.1))
        await asyncio.to_thread(asked.wait, 60)
        bench.broker.up()
        await bench.settle()
        assert (await publishing).offset == 0


@pytest.mark.parametrize("timeout", ["5s", "5", True, [], {}], ids=repr)
async def test_a_timeout_that_is_no_number_is_refused_by_every_way_to_publish(timeout: Any) -> None:
    bus = memory_bus()
    async with bus.test():
        for call in (
            lambda: bus.publish("t", {}, timeout=timeout),
            lambda: bus.publish_many("t", [{}], timeout=timeout),
            lambda: bus.tombstone("t", key="k", timeout=timeout),
            lambda: bus.send("q", {}, timeout=timeout),
            lambda: asyncio.to_thread(bus.publish_sync, "t", {}, timeout=timeout),
        ):
            with pytest.raises(ConfigurationError, match="`timeout` is a number of seconds"):
                await call()
