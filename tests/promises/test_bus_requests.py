"""What a bus at rest asks a cluster: what its groups and connections need, and one thing in five seconds."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from typing import Any

import pytest

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.pausing import LOOK_SECONDS, Pauses
from convex_messaging_fastapi.transport.base import NewTopic
from convex_messaging_fastapi.transport.kafka.engine.connections.client import Connection
from convex_messaging_fastapi.transport.memory.consumer import MemoryConsumer
from convex_messaging_fastapi.transport.memory.log_reader import MemoryLogReader
from convex_messaging_fastapi.transport.memory.producer import MemoryProducer
from convex_messaging_fastapi.transport.memory.transport import MemoryAdmin, MemoryGroups
from convex_messaging_fastapi.verdicts import live, overall, ready, startup
from tests.bus.support import Bet, memory_bus
from tests.promises.fleet import Fleet
from tests.support.waiting import eventually

HOUR = 3600.0
COMPACTED = {"cleanup.policy": "compact"}
AT_REST = {"FetchRequest", "HeartbeatRequest", "MetadataRequest", "ApiVersionRequest"}
"""What is asked of a Kafka without any work: for records and metadata, and whether connections are alive."""

ENDS = "OffsetRequest"
"""ListOffsets, by its name in the engine."""

ONE_MORE = 2
"""For what falls within the window of one, and outside that of another: two clients, or two members."""

ROOMS = (MemoryConsumer, MemoryLogReader, MemoryProducer, MemoryAdmin, MemoryGroups)


def with_two_groups(bus: MessageBus) -> MessageBus:
    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None: ...

    @bus.subscriber("bet.placed", id="audit", group=f"audit-{id(bus)}")
    async def audit(bet: Bet) -> None: ...

    return bus


async def probed(bus: MessageBus, times: int) -> None:
    for number in range(times):
        if number % 100 == 0:
            await asyncio.sleep(0)  # for others
        status = bus.status()
        for probe in (startup, live, ready, overall):
            probe(status)


@pytest.mark.parametrize("seconds", [HOUR / 10, pytest.param(HOUR, marks=pytest.mark.long)])
@pytest.mark.parametrize("has_control_topic", [False, True], ids=["without", "with"])
async def test_rest_asks_once_in_five_seconds_and_probes_ask_nothing(
    *, seconds: float, has_control_topic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = with_two_groups(memory_bus())
    async with bus.test() as t:
        if has_control_topic:
            t.broker.ensure(NewTopic("convex.control", 1, config=COMPACTED))
        await t.settle()
        asked = counted(monkeypatch)
        await t.advance(seconds / 2)
        await probed(bus, 2500)
        await t.advance(seconds / 2)
    asked.pop("MemoryConsumer.fetch")  # how a member polls
    questions = asked.pop("MemoryConsumer.ends")
    assert questions == pytest.approx(seconds / LOOK_SECONDS, abs=1), "one group asks for both"
    assert set(asked) <= {"MemoryConsumer.stop", "MemoryProducer.stop"}, "how a bus ends"


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Every call from now on at the memory transport, by class and method."""
    asked = Counter[str]()

    def noting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def noted(*arguments: Any, **options: Any) -> Any:
            asked[name] += 1
            return method(*arguments, **options)

        return noted

    for room in ROOMS:
        for name, method in vars(room).items():
            is_asked = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
            if is_asked and not name.startswith("_"):
                monkeypatch.setattr(room, name, noting(f"{room.__name__}.{name}", method))
    return asked


@contextmanager
def counting_by_client() -> Iterator[dict[str, Counter[str]]]:
    """Every request to a Kafka from now on, by the id of the client that sends it."""
    asked: dict[str, Counter[str]] = {}
    send = Connection.send

    def noted(connection: Connection, request: Any, expect_response: bool = True) -> Any:
        kind = type(request).__name__.partition("_")[0]
        asked.setdefault(str(connection._client_id), Counter())[kind] += 1
        return send(connection, request, expect_response)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "send", noted)
        yield asked


@pytest.mark.parametrize("looks", [2, pytest.param(12, marks=pytest.mark.long)], ids=["10 s", "60 s"])
async def test_a_bus_at_rest_asks_a_kafka_once_in_five_seconds(kafka_fleet: Fleet, looks: int) -> None:
    """Side by side: a fleet with a control topic, one without, and one that asks for no pauses."""
    buses = {
        kind: with_two_groups(await apart(kafka_fleet, kind)) for kind in ("has it", "lacks it", "before")
    }
    await kafka_fleet.topic("has-it.control", partitions=1, config=COMPACTED)
    async with AsyncExitStack() as running:
        for kind, bus in buses.items():
            with asking_for_no_pauses() if kind == "before" else nullcontext():
                await running.enter_async_context(bus)
        await eventually(lambda: all(map(at_rest, buses.values())), 60, "all are members")
        with counting_by_client() as asked:
            await until_asked(asked, "has it", ENDS, 1)  # in the midst of nothing else
            asked.clear()
            await until_asked(asked, "has it", ENDS, looks // 2)
            for bus in buses.values():
                await probed(bus, 10_000 // len(buses))
            await until_asked(asked, "has it", ENDS, looks)
            told = {kind: Counter(asked[kind]) for kind in buses}
    assert set(told["before"]) <= AT_REST
    assert told["has it"].pop(ENDS) == looks
    assert told["lacks it"]["MetadataRequest"] <= told["before"]["MetadataRequest"] + looks + ONE_MORE
    assert told["lacks it"].pop("MetadataRequest") > looks - ONE_MORE
    for kind in ("has it", "lacks it"):
        assert not {
            what: (times, told["before"][what])
            for what, times in told[kind].items()
            if times > 1.1 * told["before"][what] + ONE_MORE
        }, kind


async def apart(fleet: Fleet, kind: str) -> MessageBus:
    """A bus with a prefix, groups and a name of its own."""
    name = kind.replace(" ", "-")
    await fleet.topic(f"{name}.bet.placed", partitions=1)
    prefix = f"{fleet.prefix}.{name}"
    return fleet.bus(client_id=kind, topic_prefix=prefix, consumer_group=f"{prefix}-bets")


@contextmanager
def asking_for_no_pauses() -> Iterator[None]:
    """A bus that starts here is as it was before there were any."""

    def start(pauses: Pauses, workers: Callable[[], Collection[Worker]]) -> None:
        pauses._workers = workers
        pauses._begin()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pauses, "start", start)
        yield


def at_rest(bus: MessageBus) -> bool:
    return all(worker.contact.member and worker.partitions for worker in bus.status().workers)


async def until_asked(asked: dict[str, Counter[str]], client: str, kind: str, times: int) -> None:
    most = (times + 3) * LOOK_SECONDS
    await eventually(lambda: asked.get(client, Counter())[kind] >= times, most, f"{times} of {kind}")
