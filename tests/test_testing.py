"""The bench that users test with says what hangs instead of hanging with it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from convex_messaging_fastapi import BusStateError, Retry, testing
from convex_messaging_fastapi.errors import DecodeError
from tests.bus.support import Bet, memory_bus


async def test_a_message_that_is_retried_for_ever_is_named_when_the_time_given_is_over() -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", retry=Retry(attempts=None, delay_seconds=60), id="the stubborn one")
    async def handle(bet: Bet) -> None:
        raise ConnectionError("never")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        with pytest.raises(
            AssertionError, match=r"still unfinished after 600 s .*convex\.bet\.placed/. at 0'"
        ) as told:
            await t.settle(max_seconds=600)
    assert "tried again and again: ['the stubborn one']" in str(told.value)


async def test_settle_turns_the_clock_from_one_back_off_to_the_next() -> None:
    # With auto commit on, each of its intervals is a step too.
    bus, at = memory_bus(enable_auto_commit=False), list[float]()

    @bus.subscriber("bet.placed", retry=Retry(attempts=4, delay_seconds=300, max_delay_seconds=300, jitter=0))
    async def handle(bet: Bet) -> None:
        at.append(t.clock.now())
        raise ConnectionError("never")

    async with bus.test() as t:
        turns, advance = list[float](), t.clock.advance

        def noted(seconds: float) -> None:
            turns.append(seconds)
            advance(seconds)

        t.clock.advance = noted  # type: ignore[method-assign]
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

    assert [later - earlier for earlier, later in pairwise(at)] == [300, 300, 300]
    assert turns == [300, 300, 300]


async def test_a_handler_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "REAL_SECONDS", 0.05)
    bus = memory_bus()

    @bus.subscriber("bet.placed", id="the one that hangs")
    async def handle(bet: Bet) -> None:
        await asyncio.Event().wait()

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        with pytest.raises(AssertionError, match="the one that hangs"):
            await t.settle()


async def test_settle_waits_for_handlers_that_wait_for_the_world_outside() -> None:
    bus = memory_bus()
    answered: list[int] = []

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None:
        await asyncio.to_thread(answered.append, bet.bet_id)

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()

    assert answered == [1]


async def test_an_outage_of_the_broker_can_be_played() -> None:
    bus = memory_bus()
    got: list[dict[str, Any]] = []

    @bus.subscriber("bet.placed")
    async def handle(message: dict[str, Any]) -> None:
        got.append(message)

    async with bus.test() as t:
        await t.settle()
        t.broker.down()
        publishing = asyncio.ensure_future(bus.publish("bet.placed", {"n": 1}))
        await t.advance(5)
        assert not publishing.done()

        t.broker.up()
        await t.settle()
        await publishing
        assert got == [{"n": 1}]


AWAITED: dict[str, Callable[[testing.TestBench], Awaitable[object]]] = {
    "settle": lambda bench: bench.settle(),
    "advance": lambda bench: bench.advance(1),
    "replay": lambda bench: bench.replay(),
    "finish": lambda bench: bench.finish(asyncio.sleep(0)),
}


def test_every_awaited_verb_of_the_bench_is_called_here() -> None:
    members = inspect.getmembers(testing.TestBench, inspect.iscoroutinefunction)
    assert set(AWAITED) == {name for name, _ in members if not name.startswith("_")}


@pytest.mark.parametrize("verb", AWAITED)
async def test_on_another_event_loop_the_bench_names_loop_scopes_and_waits_for_nothing(verb: str) -> None:
    async def elsewhere() -> None:
        await AWAITED[verb](bench)

    async with memory_bus().test() as bench:
        with pytest.raises(BusStateError, match=r"opened on another event loop.*one loop scope"):
            await asyncio.to_thread(asyncio.run, elsewhere())
        await bench.settle()


async def test_what_was_published_as_bytes_is_given_as_bytes() -> None:
    bus = memory_bus()
    framed = b"\x00\x00\x00\x00\x2a\x06abc"
    async with bus.test() as t:
        await bus.publish("avro", framed)
        await bus.publish("avro", b"{}", headers={"content-type": "application/vnd.confluent.avro"})
        await bus.publish("avro", b'{"a":1}', headers={"content-type": "application/cloudevents+json"})
        await bus.tombstone("avro", key="k")
        assert t.published("avro") == [framed, b"{}", {"a": 1}, None]


async def test_what_says_that_it_is_json_and_is_none_is_refused_with_where_to_look() -> None:
    bus = memory_bus()
    async with bus.test() as t:
        await bus.publish("broken", b"\x00\xff", headers={"content-type": "application/json"})
        with pytest.raises(DecodeError, match=r"topic 'broken' .* JSON.*t\.records\('broken'\)"):
            t.published("broken")
