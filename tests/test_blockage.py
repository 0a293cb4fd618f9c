"""A loop that stands still is told once, with the code that keeps it; one that waits is not told."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from convex_messaging_fastapi import Batch, MessageBus, MessagingSettings
from convex_messaging_fastapi.blockage import LoopWatch, Whose
from convex_messaging_fastapi.records import Record
from convex_messaging_fastapi.reports import AtWork
from tests.bus.support import Bet
from tests.support.leftovers import going
from tests.support.waiting import pass_time

RECORD = Record("convex.bet.placed", 0, 15, 0, None, b"{}", (("message-id", b"m-1"),))
SAFETY_SECONDS = 30.0
BLOCKED, GOES_ON = "the event loop has stood still", "the event loop goes on"


class Lines(logging.Handler):
    """Remembers what is told, and lets a test that blocks its loop go on once it is."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._came = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._came:
            self.records.append(record)
            self._came.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Blocks this thread, with the loop that runs in it."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.with_text(text)) >= times, SAFETY_SECONDS), text

    def with_text(self, text: str) -> list[logging.LogRecord]:
        return [record for record in tuple(self.records) if text in record.getMessage()]

    @property
    def of_the_test(self) -> list[logging.LogRecord]:
        """Blockages that a test made: a machine that has other work may make the loop late elsewhere."""
        return [record for record in self.with_text(BLOCKED) if "in wait_for" in record.getMessage()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines, logger = Lines(), logging.getLogger("convex_messaging_fastapi")
    logger.addHandler(lines)
    yield lines
    logger.removeHandler(lines)


@contextmanager
def watched(whose: Whose, late: float = 0.2) -> Iterator[LoopWatch]:
    watch = LoopWatch(every=0.01, late=late)
    watch.start(whose)
    try:
        yield watch
    finally:
        watch.stop()


def of_a_handler(task: asyncio.Task[Any]) -> AtWork:
    return AtWork("pay", "bets", RECORD, 1)


def of_nobody(task: asyncio.Task[Any]) -> None: ...


def stand_still(lines: Lines) -> None:
    lines.wait_for(BLOCKED, len(lines.with_text(BLOCKED)) + 1)


async def come_to(lines: Lines, text: str, times: int = 1) -> None:
    await asyncio.to_thread(lines.wait_for, text, times)


async def test_a_blocked_loop_is_told_once_with_who_and_where_and_its_end_with_how_long(lines: Lines) -> None:
    with watched(of_a_handler):
        stand_still(lines)
        await come_to(lines, GOES_ON)
    (blocked,) = lines.of_the_test
    over = lines.with_text(GOES_ON)[-1]
    assert "pay on convex.bet.placed/0/15 (message-id m-1) blocks it at " in blocked.getMessage()
    own_and_other = r"blocks it at \S+test_blockage\.py:\d+ in wait_for, in \S+threading\.py:\d+ in "
    assert re.search(own_and_other, blocked.getMessage())
    assert blocked.levelno == over.levelno == logging.WARNING
    assert "pay on convex.bet.placed/0/15 (message-id m-1) blocked it for " in over.getMessage()
    assert [getattr(record, "message_id", None) for record in (blocked, over)] == ["m-1", "m-1"]


async def test_each_blockage_is_told_and_the_same_again_only_to_who_debugs(
    lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "convex_messaging_fastapi")
    with watched(of_nobody):
        for _ in range(3):
            told, over = len(lines.with_text(BLOCKED)), len(lines.with_text(GOES_ON))
            lines.wait_for(BLOCKED, told + 1)
            await come_to(lines, GOES_ON, over + 1)
    assert [record.levelno for record in lines.of_the_test] == [logging.WARNING, logging.DEBUG, logging.DEBUG]
    levels = [record.levelno for record in lines.with_text(GOES_ON)]
    assert levels.count(logging.DEBUG) >= 2
    assert "code outside of handlers blocks it at" in lines.of_the_test[0].getMessage()


def test_what_goes_on_blocking_is_told_once_a_minute_with_how_often() -> None:
    watch, work = LoopWatch(), AtWork("pay", "bets", RECORD, 1)
    heard = [watch._kept_back(work, "pay.py:7 in pay", now) for now in (0.0, 1.0, 59.0, 60.0, 61.0)]
    assert heard == [0, None, None, 2, None]
    assert watch._kept_back(work, "pay.py:8 in pay", 61.0) == 0
    assert watch._kept_back(None, "pay.py:7 in pay", 61.0) == 0


async def test_a_callback_that_blocks_is_told_too(lines: Lines) -> None:
    with watched(of_a_handler):
        asyncio.get_running_loop().call_soon(stand_still, lines)
        await come_to(lines, GOES_ON)
    assert "code outside of handlers blocks it at" in lines.of_the_test[0].getMessage()


async def test_a_loop_that_has_nothing_to_do_is_not_told(lines: Lines) -> None:
    asked = threading.Semaphore(0)
    loop = asyncio.get_running_loop()
    call = loop.call_soon_threadsafe

    def count(*args: Any, **options: Any) -> Any:
        asked.release()
        return call(*args, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "call_soon_threadsafe", count)
        with watched(of_nobody, late=SAFETY_SECONDS):
            for _ in range(20):
                await asyncio.to_thread(asked.acquire, timeout=SAFETY_SECONDS)
    assert lines.records == []


def test_a_watch_of_a_closed_loop_ends(lines: Lines) -> None:
    watch = LoopWatch(every=0.01, late=0.05)

    async def begin() -> None:
        watch.start(of_nobody)

    asyncio.run(begin())
    assert watch._thread is not None
    watch._thread.join(SAFETY_SECONDS)
    assert not watch._thread.is_alive()
    watch.stop()


def memory_bus() -> MessageBus:
    return MessageBus(MessagingSettings(bootstrap_servers="memory://", consumer_group="bets"))


@pytest.mark.parametrize("batch", [False, True])
async def test_the_handler_that_blocks_the_loop_is_named_with_its_message(batch: bool, lines: Lines) -> None:
    bus = memory_bus()
    over = asyncio.Event()

    if batch:

        @bus.subscriber("bet.placed", id="pay", batch=Batch(1, max_wait_seconds=0))
        async def pay_all(bets: list[Bet]) -> None:
            stand_still(lines)
            over.set()

    else:

        @bus.subscriber("bet.placed", id="pay")
        async def pay(bet: Bet) -> None:
            stand_still(lines)
            over.set()

    await asyncio.to_thread(int)  # the loop's own thread is not the bus's
    before = going()
    async with bus:
        assert "convex-watch" in going().since(before)
        await bus.publish("bet.placed", Bet(bet_id=7), headers={"message-id": "m-7"})
        await over.wait()
        await come_to(lines, GOES_ON)
    assert going().since(before) == ""
    (blocked,) = lines.of_the_test
    for record in (blocked, lines.with_text(GOES_ON)[-1]):
        assert "pay on convex.bet.placed/" in record.getMessage()
        about = [getattr(record, name, None) for name in ("message_id", "handler", "group", "attempt")]
        assert about == ["m-7", "pay", "bets", 1]


async def test_what_a_handler_has_begun_is_told_with_its_message_where_python_says_so(lines: Lines) -> None:
    bus, over = memory_bus(), asyncio.Event()

    async def block() -> None:
        stand_still(lines)

    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None:
        await asyncio.create_task(block())
        over.set()

    async with bus:
        await bus.publish("bet.placed", Bet(bet_id=7), headers={"message-id": "m-7"})
        await over.wait()
    (blocked,) = lines.of_the_test
    of_the_message = "what a handler has begun on convex.bet.placed/"
    told = of_the_message if sys.version_info >= (3, 12) else "code outside of handlers"
    assert told in blocked.getMessage()


async def test_a_handler_in_a_thread_or_one_that_awaits_blocks_nobody(lines: Lines) -> None:
    bus = memory_bus()
    may_end, begun, may_return = threading.Event(), asyncio.Semaphore(0), asyncio.Event()
    loop = asyncio.get_running_loop()

    @bus.subscriber("bet.placed")
    def pay(bet: Bet) -> None:
        loop.call_soon_threadsafe(begun.release)
        may_end.wait(SAFETY_SECONDS)

    @bus.subscriber("bet.placed")
    async def tell(bet: Bet) -> None:
        begun.release()
        await may_return.wait()

    async with bus:
        await bus.publish("bet.placed", Bet(bet_id=7))
        await begun.acquire()
        await begun.acquire()
        await asyncio.to_thread(pass_time, 2.5)
        may_end.set()
        may_return.set()
    assert not [line for line in lines.with_text(BLOCKED) if " on convex.bet.placed/" in line.getMessage()]


async def test_a_bench_has_no_watch_for_its_time_is_not_real() -> None:
    bus, before = memory_bus(), going()
    async with bus.test():
        assert "convex-watch" not in going().since(before)
