"""What is wrapped around a publish: what it sees, what it may change, and what its caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest

from convex_messaging_fastapi import (
    EncodeError,
    MessageBus,
    Middleware,
    Outgoing,
    PublishFailed,
    PublishManyError,
    PublishNext,
    PublishUnknown,
    Receipt,
    Receipts,
    Reject,
)
from convex_messaging_fastapi.middleware import around_publish
from convex_messaging_fastapi.records import header_text
from tests.bus.support import Bet, memory_bus

Wrap = Callable[[Outgoing, PublishNext], Awaitable[Any]]
TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


class Doing(Middleware):
    """What a test says, around each publish."""

    def __init__(self, wrap: Wrap) -> None:
        self._wrap = wrap

    async def publish(self, outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        receipts: Receipts = await self._wrap(outgoing, call_next)
        return receipts


class Notes(Middleware):
    """Notes what is published, and what comes of it."""

    def __init__(self) -> None:
        self.seen: list[Outgoing] = []
        self.came: list[Receipts | Exception] = []

    async def publish(self, outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        self.seen.append(outgoing)
        try:
            receipts = await call_next(outgoing)
        except Exception as error:
            self.came.append(error)
            raise
        self.came.append(receipts)
        return receipts


async def in_a_thread(bus: MessageBus) -> object:
    return await asyncio.to_thread(lambda: bus.publish_sync("bet", {"bet": 1}))


# What is called, and what is told of it: the topic, the message, the key, and which verb it is.
VERBS: list[tuple[Callable[[MessageBus], Awaitable[object]], tuple[str, Any, Any, str]]] = [
    (lambda bus: bus.publish("bet", {"bet": 1}, key="ada"), ("bet", {"bet": 1}, "ada", "publish")),
    (lambda bus: bus.send("bet", {"bet": 1}), ("bet", {"bet": 1}, None, "publish")),
    (in_a_thread, ("bet", {"bet": 1}, None, "publish")),
    (lambda bus: bus.publish_many("bet", [1, 2], key="ada"), ("bet", [1, 2], "ada", "publish_many")),
    (lambda bus: bus.tombstone("bet", key="ada"), ("bet", None, "ada", "tombstone")),
]


@pytest.mark.parametrize(("call", "told"), VERBS)
async def test_every_verb_comes_by_once_and_its_caller_gets_what_it_would_have_got(
    call: Callable[[MessageBus], Awaitable[object]], told: tuple[str, Any, Any, str]
) -> None:
    notes = Notes()
    bus = memory_bus(middleware=[notes])
    async with bus.test():
        receipts = await call(bus)
    (seen,) = notes.seen
    assert (seen.topic, seen.message, seen.key, seen.verb) == told
    assert (seen.headers, seen.correlation_id) == ({}, None)
    assert notes.came == [receipts]


async def test_key_headers_and_message_may_be_changed() -> None:
    async def changes(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        headers = {**outgoing.headers, "tenant": TENANT.get()}
        return await call_next(replace(outgoing, key="eve", headers=headers, message={"bet": 7}))

    bus = memory_bus(middleware=[Doing(changes)])
    async with bus.test() as t:
        TENANT.set("eu")
        await bus.publish("bet", {"bet": 1}, key="ada", headers={"mine": "1"})
        (record,) = t.records("bet")
        assert (record.key, record.value) == (b"eve", b'{"bet":7}')
        told = {name: header_text(record.headers, name) for name in ("mine", "tenant")}
        assert told == {"mine": "1", "tenant": "eu"}


async def test_the_messages_and_the_keys_of_many_may_be_changed() -> None:
    async def changes(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        doubled = [2 * message for message in outgoing.message]
        return await call_next(replace(outgoing, message=doubled, key=str))

    bus = memory_bus(middleware=[Doing(changes)])
    async with bus.test() as t:
        assert len(await bus.publish_many("bet", [1, 2, 3])) == 3
        assert sorted((record.key, record.value) for record in t.records("bet")) == [
            (b"2", b"2"),
            (b"4", b"4"),
            (b"6", b"6"),
        ]


async def test_the_first_is_the_outermost() -> None:
    def adding(letter: str) -> Middleware:
        async def wrap(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
            return await call_next(replace(outgoing, message=outgoing.message + letter))

        return Doing(wrap)

    bus = memory_bus(middleware=[adding("a"), Middleware(), adding("b")])
    async with bus.test() as t:
        await bus.publish("bet", "-")
        assert t.published("bet") == ["-ab"]


async def raises(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
    raise PublishFailed("this tenant may not publish")


async def raises_after(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
    await call_next(outgoing)
    raise ConnectionError("no audit")


async def calls_twice(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
    await call_next(outgoing)
    return await call_next(outgoing)


async def never_calls(outgoing: Outgoing, call_next: PublishNext) -> Any:
    return None


async def forgets_to_return(outgoing: Outgoing, call_next: PublishNext) -> Any:
    await call_next(outgoing)


async def returns_a_copy(outgoing: Outgoing, call_next: PublishNext) -> Any:
    receipt = await call_next(outgoing)
    return receipt[0] if isinstance(receipt, list) else [receipt]


async def gives_a_message(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
    return await call_next(replace(outgoing, message={"bet": 1}))


# What wraps it, what the caller of `publish` gets, and how many records are written.
OUTCOMES: list[tuple[Wrap, type[BaseException] | None, int]] = [
    (raises, PublishFailed, 0),
    (raises_after, ConnectionError, 1),
    (calls_twice, None, 2),
    (never_calls, PublishUnknown, 0),
    (forgets_to_return, PublishUnknown, 1),
    (returns_a_copy, PublishUnknown, 1),
]


@pytest.mark.parametrize(("wrap", "error", "written"), OUTCOMES)
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_whatever_it_does_has_its_outcome(
    wrap: Wrap, error: type[Exception] | None, written: int, many: bool
) -> None:
    bus = memory_bus(middleware=[Doing(wrap)])
    async with bus.test() as t:
        call = bus.publish_many("bet", [1]) if many else bus.publish("bet", 1)
        if error is None:
            assert await call
        else:
            with pytest.raises(error):
                await call
        assert t.published("bet") == [1] * written


async def test_a_tombstone_stays_one() -> None:
    bus = memory_bus(middleware=[Doing(gives_a_message)])
    async with bus.test() as t:
        with pytest.raises(EncodeError, match="a tombstone has no message"):
            await bus.tombstone("bet", key="ada")
        assert t.records("bet") == []


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_it_sees_what_was_not_written_and_may_swallow_or_try_again(many: bool) -> None:
    notes = Notes()

    async def tries_again(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        try:
            return await call_next(outgoing)
        except (PublishFailed, PublishManyError):
            bench.broker.refuse("convex.bet", times=-1_000_000)
            return await call_next(outgoing)

    bus = memory_bus(middleware=[Doing(tries_again), notes])
    async with bus.test() as bench:
        bench.broker.refuse("convex.bet", times=1_000_000)
        call = bus.publish_many("bet", [1], timeout=3) if many else bus.publish("bet", 1, timeout=3)
        publishing = asyncio.ensure_future(call)
        while not publishing.done():
            await bench.advance(1)
        receipt = await publishing
        assert notes.came == [notes.came[0], receipt]
        assert isinstance(notes.came[0], PublishManyError if many else PublishFailed)


async def test_one_that_is_cancelled_by_its_caller_is_cancelled() -> None:
    ended: list[str] = []

    async def waits(outgoing: Outgoing, call_next: PublishNext) -> Receipts:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")
        raise AssertionError

    bus = memory_bus(middleware=[Doing(waits)])
    async with bus.test() as t:
        publishing = asyncio.ensure_future(bus.publish("bet", 1))
        await t.advance(1)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        assert ended == ["cleaned up"]
        assert t.records("bet") == []


async def test_dead_letters_do_not_come_by() -> None:
    notes = Notes()
    bus = memory_bus(middleware=[notes])

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        raise Reject("no such player")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()
        assert len(t.dead_letters()) == 1
    assert [seen.topic for seen in notes.seen] == ["bet.placed"]


async def bare(outgoing: Outgoing) -> Receipt:
    raise AssertionError


@pytest.mark.parametrize("middleware", [[], [Middleware()], (each for each in [Middleware()])])
def test_without_any_that_publishes_it_is_the_bare_function(middleware: Any) -> None:
    assert around_publish(middleware, bare) is bare
