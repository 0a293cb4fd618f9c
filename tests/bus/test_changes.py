"""Handlers that are refused leave no trace, wait only for their own group, and live in no request."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from convex_messaging_fastapi import (
    Batch,
    BusStateError,
    ConfigurationError,
    DeclarationError,
    MessageBus,
    MessagingError,
)
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.transport.memory.transport import MemoryTransport
from tests.bus.support import Bet, memory_bus
from tests.support.leftovers import going
from tests.support.waiting import eventually


async def handle(bet: Bet) -> None: ...


def of_two_messages(bet: Bet, other: Bet) -> None: ...


BAD_HANDLERS: tuple[Any, ...] = (of_two_messages, None)


# -- refused ----------------------------------------------------------------------------------------


def _raises(*_: object) -> Any:
    raise ZeroDivisionError("a defect")


async def _raises_later(*_: object) -> Any:
    raise ZeroDivisionError("a defect")


def _stops(*_: object) -> Any:
    raise StopIteration


NO_CHANGE: tuple[object, str, Callable[..., Any]] = (MemoryTransport, "admin", MemoryTransport.admin)

REFUSED: dict[
    str, tuple[str, str, dict[str, Any], tuple[object, str, Callable[..., Any]], type[Exception]]
] = {
    "a topic of no name": ("subscribe", "bad topic", {}, NO_CHANGE, ConfigurationError),
    "a queue of no name": ("receive", "bad queue", {}, NO_CHANGE, ConfigurationError),
    "a topic of no name, in a group of its own": (
        "subscribe",
        "bad topic",
        {"group": "own"},
        NO_CHANGE,
        ConfigurationError,
    ),
    "no consumer for a new group": (
        "subscribe",
        "bet.won",
        {"group": "own"},
        (MemoryTransport, "consumer", _raises),
        ZeroDivisionError,
    ),
    "a new group that does not start": (
        "subscribe",
        "bet.won",
        {"group": "own"},
        (Worker, "start", _raises_later),
        ZeroDivisionError,
    ),
    "a rebuild that fails": (
        "subscribe",
        "bet.won",
        {},
        (Worker, "_rebuild", _raises_later),
        ZeroDivisionError,
    ),
    "an iterator's end out of place": (
        "subscribe",
        "bet.won",
        {},
        (Worker, "add", _stops),
        RuntimeError,
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_is_not_declared_and_can_be_asked_for_again(
    case: tuple[str, str, dict[str, Any], tuple[object, str, Callable[..., Any]], type[Exception]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verb, topic, choices, (owner, name, broken), expected = case
    bus, got = memory_bus(), list[int]()

    @bus.subscriber("bet.placed")
    async def stays(bet: Bet) -> None:
        got.append(bet.bet_id)

    async with bus:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await eventually(lambda: got == [1], 5, "the handler that stays")
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, broken)
                with pytest.raises(expected):
                    await getattr(bus, verb)(topic, handle, id="x", **choices)
            assert await bus.unsubscribe("x") is False, "it is not there"
        assert [worker.group for worker in bus.status().workers] == ["bets"]

        await bus.publish("bet.placed", Bet(bet_id=2))
        await eventually(lambda: got == [1, 2], 5, "the handler that stays, after the refusal")
        assert await bus.subscribe("bet.won", handle, id="x") == "x"

    async with bus:
        assert {sub.id for worker in bus.status().workers for sub in worker.subscriptions} >= {"x"}


async def test_what_is_refused_before_it_is_tried_is_not_declared() -> None:
    bus = memory_bus()
    async with bus:
        for bad in BAD_HANDLERS:
            with pytest.raises(DeclarationError):
                await bus.subscribe("bet.placed", bad, id="x")
        with pytest.raises(DeclarationError):
            await bus.subscribe("", handle, id="x")
        assert await bus.unsubscribe("x") is False
        await bus.receive("pay", handle, id="first")
        with pytest.raises(DeclarationError, match="already has the receiver 'first'"):
            await bus.receive("pay", handle, id="second")
        assert await bus.unsubscribe("first") is True
        await bus.receive("pay", handle, id="second")


async def test_one_that_fails_after_its_caller_has_gone_is_not_declared_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus = memory_bus()
    async with bus:
        gate = asyncio.Event()

        async def fail(*_: object) -> None:
            await gate.wait()
            raise ZeroDivisionError

        monkeypatch.setattr(Worker, "start", fail)
        caller = asyncio.create_task(bus.subscribe("bet.placed", handle, id="x"))
        await turns()
        caller.cancel()
        gate.set()
        await eventually(lambda: not changing(bus), 5, "the change to end")
        assert await bus.unsubscribe("x") is False


async def test_what_is_taken_back_is_the_declaration_itself_and_not_one_of_the_same_id() -> None:
    """One leaves while it arrives, another takes its id: that one stays."""
    bus, slow = memory_bus(), Gated()
    async with bus:
        await bus.subscribe("bet.placed", slow)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await slow.begun.wait()
        first = asyncio.create_task(bus.subscribe("bet.won", handle, id="x"))
        await turns()
        leaving = asyncio.create_task(bus.unsubscribe("x"))
        await turns()
        second = asyncio.create_task(bus.subscribe("bet.placed", handle, id="x"))
        slow.gate.set()
        assert [await first, await leaving, await second] == ["x", True, "x"]
        assert await bus.unsubscribe("x") is True
        assert await bus.unsubscribe("x") is False


# -- turns ------------------------------------------------------------------------------------------


async def test_a_change_waits_for_those_of_its_own_group_and_for_no_others() -> None:
    bus, slow = memory_bus(), Gated()
    async with bus:
        id = await bus.subscribe("bet.placed", slow)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await slow.begun.wait()
        leaving = asyncio.create_task(bus.unsubscribe(id))
        await turns()

        another = await bus.subscribe("bet.placed", handle, group="another")
        assert await bus.unsubscribe(another) is True
        same = asyncio.create_task(bus.subscribe("bet.placed", handle))
        await turns()
        assert not leaving.done()
        assert not same.done()
        slow.gate.set()
        await asyncio.gather(leaving, same)


async def test_changes_of_one_group_have_their_turns_in_the_order_in_which_they_were_asked_for() -> None:
    bus = memory_bus()
    async with bus:
        await asyncio.gather(*[bus.subscribe(f"topic{n}", handle, id=f"{n}") for n in range(5)])
        (worker,) = bus.status().workers
        assert [sub.id for sub in worker.subscriptions] == ["0", "1", "2", "3", "4"]


# -- in a handler -----------------------------------------------------------------------------------


Asked = Callable[[MessageBus], Coroutine[Any, Any, Any]]

IN_A_HANDLER: dict[str, tuple[Asked, str | None]] = {
    "a topic that is read": (lambda bus: bus.subscribe("bet.placed", handle), None),
    "another group": (lambda bus: bus.subscribe("bet.won", handle, group="another"), None),
    "a queue": (lambda bus: bus.receive("pay", handle), None),
    "a new topic": (lambda bus: bus.subscribe("bet.won", handle), "cannot begin to read convex.bet.won"),
    "a neighbour": (lambda bus: bus.unsubscribe("neighbour"), None),
    "a neighbour, the last one of its topic": (
        lambda bus: bus.unsubscribe("alone"),
        "cannot unsubscribe 'alone', the last handler of a topic",
    ),
    "somebody of another group": (lambda bus: bus.unsubscribe("elsewhere"), None),
    "itself": (lambda bus: bus.unsubscribe("asker"), "cannot unsubscribe itself"),
    "nobody": (lambda bus: bus.unsubscribe("unknown"), None),
}


@pytest.mark.parametrize(
    "choices", [{}, {"batch": Batch(max_records=1, max_wait_seconds=1)}], ids=["", "batch"]
)
@pytest.mark.parametrize("case", IN_A_HANDLER.values(), ids=IN_A_HANDLER)
async def test_a_handler_may_ask_for_what_does_not_wait_for_it_and_is_refused_the_rest(
    case: tuple[Asked, str | None], choices: dict[str, Any]
) -> None:
    asked, refusal = case
    bus, heard = memory_bus(drain_timeout_seconds=20), list[Any]()

    async def ask() -> None:
        try:
            heard.append(await asked(bus))
        except MessagingError as error:
            heard.append(error)

    if choices:

        @bus.subscriber("bet.placed", id="asker", **choices)
        async def asker(bets: list[Bet]) -> None:
            await ask()
    else:

        @bus.subscriber("bet.placed", id="asker")
        async def asker_alone(bet: Bet) -> None:
            await ask()

    bus.subscriber("bet.placed", id="neighbour")(handle)
    bus.subscriber("bet.lost", id="alone")(handle)
    bus.subscriber("bet.lost", id="elsewhere", group="elsewhere")(handle)

    async with bus:
        before = [sub.id for worker in bus.status().workers for sub in worker.subscriptions]
        await bus.publish("bet.placed", Bet(bet_id=1))
        await eventually(lambda: heard, 5, "an answer, long before a drain would be over")
        if refusal is None:
            assert not isinstance(heard[0], Exception)
            return
        assert isinstance(heard[0], BusStateError)
        assert refusal in str(heard[0])
        assert "a task outside of handlers" in str(heard[0])
        after = [sub.id for worker in bus.status().workers for sub in worker.subscriptions]
        assert after == before, "nothing has changed"


async def test_a_handler_does_not_wait_for_a_change_that_waits_for_it() -> None:
    bus, heard, asked = memory_bus(), list[Any](), asyncio.Event()

    @bus.subscriber("bet.placed")
    async def asker(bet: Bet) -> None:
        asked.set()
        await eventually(lambda: changing(bus), 5, "a change from outside")
        try:
            heard.append(await bus.subscribe("bet.placed", handle))
        except BusStateError as error:
            heard.append(error)

    async with bus:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await asked.wait()
        await asyncio.wait_for(bus.subscribe("bet.won", handle), 5)
        assert "another change of group 'bets' is under way" in str(heard[0])


async def test_what_a_handler_is_refused_a_task_outside_of_it_may_do() -> None:
    """The way out that the sentence names."""
    bus, wanted = memory_bus(), asyncio.Event()

    @bus.subscriber("bet.placed", id="asker")
    async def asker(bet: Bet) -> None:
        wanted.set()

    async def outside() -> bool:
        await wanted.wait()
        return await bus.unsubscribe("asker")

    async with bus:
        leaving = asyncio.create_task(outside())
        await bus.publish("bet.placed", Bet(bet_id=1))
        assert await asyncio.wait_for(leaving, 5) is True


# -- contexts ---------------------------------------------------------------------------------------

request_of: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


async def test_nothing_of_the_machine_lives_in_the_context_of_whoever_asked_for_it() -> None:
    bus, loop = memory_bus(create_topics=True), asyncio.get_running_loop()
    strangers: list[asyncio.Task[Any]] = []

    def begin(
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        """What it is given differs from one Python to the next."""
        task = asyncio.Task(work, loop=loop, **options)
        if request_of in (options.get("context") or contextvars.copy_context()):
            strangers.append(task)
        return task

    async def serve() -> None:
        request_of.set("GET /live-updates #4711")
        id = await bus.subscribe("bet.placed", handle, group="websocket 4711")
        await bus.subscribe("bet.won", handle, group="websocket 4711")
        await bus.publish("bet.won", Bet(bet_id=1))
        await bus.unsubscribe(id)

    async with bus:
        serving = asyncio.create_task(serve())
        loop.set_task_factory(begin)
        await serving
        await turns()
        loop.set_task_factory(None)
        assert [task.get_name() for task in strangers] == []


# -- growth -----------------------------------------------------------------------------------------


async def test_handlers_that_come_and_go_leave_nothing_behind() -> None:
    bus = memory_bus(create_topics=True, auto_commit_interval_ms=50)

    async def come_and_go(times: int) -> None:
        for n in range(times):
            id = await bus.subscribe("bet.placed", handle, group=f"group {n % 20}")
            assert await bus.unsubscribe(id)

    async with bus:
        await come_and_go(20)
        before, ours = going(), counted()
        await come_and_go(500)
        await turns()
        assert going().since(before) == ""
        assert {kind: count for kind, count in counted().items() if count > ours[kind]} == {}
        assert kept(bus) == []


async def test_buses_that_start_and_stop_leave_nothing_behind() -> None:
    bus = memory_bus(create_topics=True)
    bus.subscriber("bet.placed")(handle)
    async with bus:
        await turns()
    before, ours = going(), counted()
    for _ in range(50):
        async with bus:
            pass
    assert going().since(before) == ""
    assert {kind: count for kind, count in counted().items() if count > ours[kind]} == {}


def counted() -> dict[str, int]:
    """Living objects of this package, by kind."""
    gc.collect()
    counts: dict[str, int] = {}
    for thing in gc.get_objects():
        kind = type(thing)
        if str(kind.__module__).startswith("convex_messaging_fastapi"):
            counts[kind.__qualname__] = counts.get(kind.__qualname__, 0) + 1
    return _Zero(counts)


class _Zero(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 0


def kept(bus: MessageBus) -> list[str]:
    """What the machine remembers of groups and subscriptions that have gone."""
    running = bus._life.running
    assert running is not None
    machine = running.machine
    remembered = {
        "workers": machine._workers,
        "changes": machine._changes.under_way,
        "turns": machine._changes._turns,
        "topics": machine._topic_creation._tasks,
        "subscriptions": list(running.wiring._made),
    }
    return [name for name, what in remembered.items() if len(what)]


def changing(bus: MessageBus) -> bool:
    running = bus._life.running
    assert running is not None
    return bool(running.machine._changes.under_way)


class Gated:
    """A handler that waits at its gate."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, bet: Bet) -> None:
        self.begun.set()
        await self.gate.wait()


async def turns() -> None:
    """Let everything go on that does not wait for time."""
    for _ in range(50):
        await asyncio.sleep(0)
