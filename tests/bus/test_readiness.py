"""Readiness tells of what waits here, and asks for no right that this service does not use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from convex_messaging_fastapi import MessageBus, Retry
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.transport.base import Contact, NewTopic, Problem
from convex_messaging_fastapi.transport.memory import shared_broker
from convex_messaging_fastapi.transport.memory.producer import MemoryProducer
from convex_messaging_fastapi.transport.memory.transport import MemoryAdmin
from convex_messaging_fastapi.verdicts import Verdict, ready
from tests.bus.support import Bet, memory_bus
from tests.support.waiting import eventually

NO_LETTERS = Verdict(False, "degraded", ("dlq_unavailable",))
UP = Verdict(True, "up")
NOT_AUTHORISED = Verdict(False, "down", ("not_authorized",))


async def fail(bet: Bet) -> None:
    raise ValueError("no")


async def handle(bet: Bet) -> None: ...


# -- letters that cannot be written -------------------------------------------------------------------


async def unsubscribed(bus: MessageBus, t: TestBench) -> None:
    leaving = asyncio.create_task(bus.unsubscribe("fails"))
    await t.advance(60)
    assert await leaving is True


async def buried(bus: MessageBus, t: TestBench) -> None:
    healed(t)
    await t.settle()
    assert len(t.dead_letters()) == 1


async def rebuilt(bus: MessageBus, t: TestBench) -> None:
    """The partitions are given up and taken again; meanwhile letters can be written."""
    healed(t)
    joining = asyncio.create_task(bus.subscribe("bet.won", handle))
    await t.advance(60)
    await joining


def healed(t: TestBench) -> None:
    t.broker._refusals.clear()


@pytest.mark.parametrize("ends", [unsubscribed, buried, rebuilt])
async def test_a_letter_that_could_not_be_written_is_told_of_as_long_as_its_partition_waits(
    ends: Callable[[MessageBus, TestBench], Awaitable[None]],
) -> None:
    bus = memory_bus()
    bus.subscriber("bet.placed", id="fails", retry=Retry(attempts=1))(fail)
    bus.subscriber("bet.placed", id="good")(handle)
    async with bus.test() as t:
        t.broker.refuse("convex.dlq", 10_000)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.advance(30)
        assert ready(bus.status()) == NO_LETTERS
        assert bus.status().problems == ("dlq_unavailable",)

        await ends(bus, t)
        assert ready(bus.status()) == UP
        assert bus.status().problems == ()


async def test_a_letter_that_another_process_has_written_is_told_of_no_more() -> None:
    name = "two-processes"
    broker = shared_broker(name, SystemClock())
    broker.refuse("convex.dlq", 10_000)
    one, other = (
        memory_bus(
            bootstrap_servers=f"memory://{name}",
            publish_timeout_seconds=0.1,
            drain_timeout_seconds=0.5,
            revoke_drain_seconds=0.5,
        )
        for _ in range(2)
    )
    for bus in (one, other):
        bus.subscriber("bet.placed", retry=Retry(attempts=1))(fail)
    async with one:
        for bet_id in range(20):
            await one.publish("bet.placed", Bet(bet_id=bet_id), key=str(bet_id))
        await eventually(lambda: ready(one.status()) == NO_LETTERS, 10, "a letter to fail")
        async with other:
            await eventually(lambda: ready(other.status()).ok is False, 10, "letters to fail in the other")
            broker._refusals.clear()
            await eventually(lambda: len(broker.records("convex.dlq")) >= 20, 15, "all letters")
            await eventually(lambda: ready(one.status()) == UP, 10, "the first to be ready")
            await eventually(lambda: ready(other.status()) == UP, 10, "the other to be ready")


async def test_until_the_topic_of_letters_could_be_made_readiness_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = refusing_letters(monkeypatch)
    bus = memory_bus()
    bus.subscriber("bet.placed")(handle)
    async with bus.test() as t:
        await t.advance(12)
        assert ready(bus.status()) == NO_LETTERS
        assert len(asked) == 3
        monkeypatch.undo()
        await t.advance(5)
        assert ready(bus.status()) == UP
        t.broker.refuse("convex.dlq", 1)
        await t.advance(120)
        assert ready(bus.status()) == UP


async def test_the_topic_of_letters_is_asked_for_no_more_once_the_last_that_buries_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = refusing_letters(monkeypatch)
    bus = memory_bus()
    bus.subscriber("bet.placed", dead_letter="hold")(handle)
    async with bus.test() as t:
        await t.advance(60)
        assert asked == [], "nobody buries"
        id = await joined(t, bus.subscribe("bet.placed", handle))
        assert asked
        assert ready(bus.status()) == NO_LETTERS
        await joined(t, bus.unsubscribe(id))
        assert ready(bus.status()) == UP
        asked.clear()
        await t.advance(60)
        assert asked == []


# -- rights -----------------------------------------------------------------------------------------

READERS: dict[str, dict[str, Any]] = {
    "discard": {"dead_letter": "discard"},
    "hold": {"dead_letter": "hold"},
}


@pytest.fixture
def without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that lets this service read, and nothing else."""
    refused = Contact(None, True, Problem.NOT_AUTHORIZED, "InitProducerId: needs WRITE on some topic")
    monkeypatch.setattr(MemoryProducer, "contact", lambda self: refused)


@pytest.mark.usefixtures("without_rights")
@pytest.mark.parametrize("choices", READERS.values(), ids=READERS)
async def test_a_service_that_only_reads_is_ready_without_the_right_to_write(
    choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = refusing_letters(monkeypatch)
    bus = memory_bus()
    bus.subscriber("bet.placed", **choices)(handle)
    bus.subscriber("dlq")(handle)
    async with bus.test() as t:
        await t.settle()
        await t.advance(60)
        assert ready(bus.status()) == UP
        assert bus.status().producer is not None
        assert asked == [], "the topic of dead letters is neither made nor looked at"


async def published(bus: MessageBus, t: TestBench) -> None:
    await bus.publish("bet.won", Bet(bet_id=1))


async def published_many(bus: MessageBus, t: TestBench) -> None:
    await bus.publish_many("bet.won", [])


async def sent(bus: MessageBus, t: TestBench) -> None:
    await bus.send("pay", Bet(bet_id=1))


async def deleted(bus: MessageBus, t: TestBench) -> None:
    await bus.tombstone("bet.won", key="ada")


async def published_in_a_thread(bus: MessageBus, t: TestBench) -> None:
    await asyncio.to_thread(bus.publish_sync, "bet.won", Bet(bet_id=1))


async def subscribed_to_bury(bus: MessageBus, t: TestBench) -> None:
    await joined(t, bus.subscribe("bet.placed", handle))


@pytest.mark.usefixtures("without_rights")
@pytest.mark.parametrize(
    "uses", [published, published_many, sent, deleted, published_in_a_thread, subscribed_to_bury]
)
async def test_once_it_writes_or_may_bury_the_right_to_write_counts(
    uses: Callable[[MessageBus, TestBench], Awaitable[None]],
) -> None:
    bus = memory_bus()
    bus.subscriber("bet.placed", dead_letter="discard")(handle)
    async with bus.test() as t:
        await t.settle()
        assert ready(bus.status()) == UP
        await uses(bus, t)
        assert ready(bus.status()) == Verdict(False, "down", ("not_authorized",))


@pytest.mark.usefixtures("without_rights")
@pytest.mark.parametrize(("unreadable", "verdict"), [("hold", UP), ("bury", NOT_AUTHORISED)])
async def test_to_bury_what_cannot_be_read_asks_for_the_right_whatever_handlers_do(
    unreadable: Literal["hold", "bury"], verdict: Verdict
) -> None:
    bus = memory_bus(unreadable=unreadable)
    bus.subscriber("bet.placed", dead_letter="discard")(handle)
    async with bus.test() as t:
        await t.settle()
        assert ready(bus.status()) == verdict


async def test_where_what_cannot_be_read_is_buried_the_topic_for_letters_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = refusing_letters(monkeypatch)
    for unreadable in ("hold", "bury"):
        bus = memory_bus(unreadable=unreadable)
        bus.subscriber("bet.placed", dead_letter="discard")(handle)
        async with bus.test() as t:
            await t.settle()
            assert bool(asked) is (unreadable == "bury")
            assert ready(bus.status()) == (NO_LETTERS if asked else UP)


@pytest.mark.usefixtures("without_rights")
async def test_once_the_last_that_buries_has_gone_it_counts_no_more() -> None:
    bus = memory_bus()
    bus.subscriber("bet.placed", dead_letter="discard")(handle)
    async with bus.test() as t:
        id = await joined(t, bus.subscribe("bet.placed", handle))
        assert not ready(bus.status()).ok
        await joined(t, bus.unsubscribe(id))
        assert ready(bus.status()) == UP


def refusing_letters(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let nobody make the topic of dead letters; answers who asked for it."""
    asked: list[str] = []
    ensure = MemoryAdmin.ensure_topic

    async def refuse(admin: MemoryAdmin, topic: NewTopic) -> None:
        if topic.name == "convex.dlq":
            asked.append(topic.name)
            raise TopicUnavailable("not authorised")
        await ensure(admin, topic)

    monkeypatch.setattr(MemoryAdmin, "ensure_topic", refuse)
    return asked


async def joined(t: TestBench, call: Any) -> Any:
    """What came of a change that needs time to pass."""
    changing = asyncio.ensure_future(call)
    await t.advance(30)
    return await changing
