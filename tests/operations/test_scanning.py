"""A scan leaves the loop to others, is made once for all who ask, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from convex_messaging_fastapi import BusNotStarted, BusStopped, LettersUnavailable, TransportError
from convex_messaging_fastapi.operations import Filter, Operations, scanning
from convex_messaging_fastapi.operations.scanning import TURN_BYTES
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import LogRange
from convex_messaging_fastapi.transport.memory import MemoryTransport
from convex_messaging_fastapi.transport.memory.log_reader import MemoryLogReader
from tests.bus.support import Bet, memory_bus
from tests.operations.support import DLQ, Desk, a_letter, original


class Watched:
    """The desk's transport, which counts what is read, and can be made to wait or to fail."""

    def __init__(self, desk: Desk) -> None:
        self._transport = desk.parts.transport
        self._reader: Any = self._transport.log_reader()
        self.reads: list[str] = []
        self.open = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.has_begun = asyncio.Event()
        self.fails = False

    def log_reader(self, *, uncommitted: bool = False, few: bool = False) -> Watched:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader if hasattr(self._reader, name) else self._transport, name)

    async def read(self, ranges: Mapping[TopicPartition, LogRange]) -> AsyncGenerator[Sequence[Record], None]:
        if not any(where.topic == DLQ for where in ranges):
            return
        self.reads.append(DLQ)
        self.open += 1
        self.has_begun.set()
        try:
            await self.gate.wait()
            if self.fails:
                raise TransportError("the network is down")
            async for records in self._reader.read(ranges):
                yield records
        finally:
            self.open -= 1


def watched(desk: Desk) -> tuple[Operations, Watched]:
    transport = Watched(desk)
    return Operations(replace(desk.parts, transport=transport)), transport


def a_desk(count: int = 3) -> Desk:
    desk = Desk()
    desk.write(*(a_letter(original(offset)) for offset in range(count)))
    return desk


async def test_nothing_is_read_before_a_verb_is_called_and_nothing_is_open_after_it() -> None:
    operations, transport = watched(a_desk())
    assert transport.reads == []
    await operations.dead_letters()
    assert transport.reads
    assert transport.open == 0


async def test_a_bus_that_nobody_asks_opens_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    log_reader = MemoryTransport.log_reader

    def refuse(self: MemoryTransport, *, uncommitted: bool = False, few: bool = False) -> MemoryLogReader:
        if uncommitted:  # of the control topic
            return log_reader(self, uncommitted=True)
        raise AssertionError("nobody has asked")

    monkeypatch.setattr(MemoryTransport, "log_reader", refuse)
    bus, handled = memory_bus(), list[Bet]()

    @bus.subscriber("bets")
    async def handle(bet: Bet) -> None:
        handled.append(bet)

    async with bus.test() as t:
        await bus.publish("bets", Bet(bet_id=1))
        await t.settle()
        with pytest.raises(AssertionError, match="nobody has asked"):
            _ = bus.operations
    assert handled == [Bet(bet_id=1)]


async def test_lists_of_the_next_five_seconds_are_of_the_same_scan() -> None:
    desk = a_desk()
    operations, transport = watched(desk)
    await operations.dead_letters(limit=0)
    desk.write(a_letter(original(9)))  # a second passes
    assert (await operations.dead_letters(Filter(handler="app.pay"), limit=0)).matched == 3
    assert len(transport.reads) == 1
    desk.clock.advance(4.1)
    assert (await operations.dead_letters(limit=0)).matched == 4
    assert len(transport.reads) == 2


async def test_those_who_ask_meanwhile_wait_for_the_same_scan() -> None:
    operations, transport = watched(a_desk())
    transport.gate.clear()
    asking = [asyncio.ensure_future(operations.dead_letters(limit=0)) for _ in range(5)]
    await transport.has_begun.wait()
    transport.gate.set()
    assert [page.matched for page in await asyncio.gather(*asking)] == [3] * 5
    assert len(transport.reads) == 1


async def test_one_scan_runs_at_a_time_whatever_is_looked_for() -> None:
    operations, transport = watched(a_desk())
    transport.gate.clear()
    texts = ("card", "stock", "user")
    asking = [asyncio.ensure_future(operations.dead_letters(Filter(text=text), limit=0)) for text in texts]
    for _ in range(50):
        await asyncio.sleep(0)
    assert transport.open == 1
    transport.gate.set()
    assert [page.matched for page in await asyncio.gather(*asking)] == [3, 0, 3]


async def test_a_scan_ends_with_the_last_who_waits_for_it() -> None:
    operations, transport = watched(a_desk())
    transport.gate.clear()
    first, second = (asyncio.ensure_future(operations.dead_letters()) for _ in range(2))
    await transport.has_begun.wait()
    first.cancel()
    await asyncio.wait([first])
    assert transport.open == 1
    second.cancel()
    await asyncio.wait([second])
    transport.gate.set()
    assert (await operations.dead_letters()).matched == 3, "whoever asks next is not cancelled with them"
    assert transport.open == 0


async def test_one_that_failed_is_told_to_all_and_the_next_is_made_anew() -> None:
    operations, transport = watched(a_desk())
    transport.fails = True
    asking = operations.dead_letters(), operations.validate()
    for asked in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(asked, LettersUnavailable)
        assert asked.may_retry
    transport.fails = False
    assert (await operations.dead_letters()).matched == 3


async def test_one_that_takes_too_long_tells_what_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = replace(scanning.FOR_LISTINGS, seconds=0.0)
    monkeypatch.setattr(scanning, "FOR_LISTINGS", at_once)
    page = await a_desk(600).operations.dead_letters()
    assert page.truncated == "250 of 600 letters were looked at: it took too long"
    assert page.scanned == 250


async def test_handlers_have_their_turns_while_large_letters_are_read() -> None:
    desk = Desk()
    desk.write(*(a_letter(original(n, value=b"x" * TURN_BYTES)) for n in range(8)))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    await desk.operations.dead_letters(limit=0)
    counting.cancel()
    assert turns >= 8


async def test_a_letter_of_another_shape_is_read_beside_the_loop() -> None:
    """It is not as we write it, so that its cost is not known beforehand."""
    desk = Desk()
    spaced = b'{ "OriginalTopic": "convex.a", "ErrorMessage": "e", "OriginalMessage": "%s" }' % (
        b"x" * 200_000
    )
    desk.write(a_letter()._replace(value=spaced), a_letter()._replace(value=b"[" * 200_000))
    kinds = [letter.kind for letter in await desk.listed()]
    assert sorted(kinds) == ["dotnet", "unreadable"]


async def test_operations_of_a_bus_are_there_while_it_runs() -> None:
    bus = memory_bus()
    with pytest.raises(BusNotStarted):
        _ = bus.operations
    async with bus:
        first = bus.operations
        assert bus.operations is first
        assert (await first.dead_letters()).matched == 0
    with pytest.raises(BusStopped):
        _ = bus.operations
