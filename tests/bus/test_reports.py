"""What the log says of a message that failed, so that nobody has to look for it in the dead letters."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from typing import Any, get_args

import pytest

from convex_messaging_fastapi import Batch, Discard, Retry
from convex_messaging_fastapi.policies import DeadLetterPolicy
from tests.bus.support import Bet, memory_bus


class CardDeclined(Exception):
    """The bank said no."""


async def test_each_attempt_that_failed_and_the_end_are_told(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", id="pay", retry=Retry(attempts=2, delay_seconds=5, jitter=0))
    async def pay(bet: Bet) -> None:
        raise CardDeclined("the bank declined")

    async with bus.test() as t:
        where = await bus.publish("bet.placed", Bet(bet_id=7), key="ada", headers={"message-id": "m-1"})
        await t.settle()

    place = f"convex.bet.placed/{where.partition}/{where.offset} (message-id m-1)"
    kind = f"{__name__}.CardDeclined"
    assert [record.getMessage().replace(__file__, "FILE") for record in caplog.records] == [
        f"pay failed on {place}, attempt 1, again in 5.0 s: {kind}: the bank declined",
        f"pay gave up on {place} with key 'ada' after attempt 2, its dead letter is convex.dlq/1/0: "
        f"{kind}: the bank declined | FILE:{pay.__code__.co_firstlineno + 2} in pay",
    ]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


ABOUT = (
    "topic",
    "partition",
    "offset",
    "group",
    "handler",
    "attempt",
    "exception_type",
    "message_id",
    "correlation_id",
    "trace_id",
)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"message-id": "m-1", "correlation-id": "c-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


@pytest.mark.parametrize("end", get_args(DeadLetterPolicy))
@pytest.mark.parametrize("takes", ["one", "a batch"])
@pytest.mark.parametrize("letters", ["are written", "are refused"])
async def test_every_line_about_a_message_has_its_place_and_its_ids(
    end: DeadLetterPolicy, takes: str, letters: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = memory_bus()
    choices: dict[str, Any] = {"retry": Retry(attempts=2, delay_seconds=1), "dead_letter": end, "id": "pay"}

    if takes == "one":

        @bus.subscriber("bet.placed", **choices)
        async def pay(bet: Bet) -> None:
            raise CardDeclined("100 % declined")

    else:

        @bus.subscriber("bet.placed", batch=Batch(5, max_wait_seconds=0), **choices)
        async def pay_all(bets: list[Bet]) -> None:
            raise CardDeclined("100 % declined")

    async with bus.test() as t:
        if letters == "are refused":
            t.broker.refuse("convex.dlq", times=60)
        where = await bus.publish("bet.placed", Bet(bet_id=7), headers=HEADERS)
        await t.settle()

    assert len(caplog.records) >= 2
    for record in caplog.records:
        assert "m-1" in record.getMessage()
        assert "100 % declined" in record.getMessage()
        assert [getattr(record, name) for name in ABOUT if name != "attempt"] == [
            "convex.bet.placed",
            where.partition,
            where.offset,
            "bets",
            "pay",
            f"{__name__}.CardDeclined",
            "m-1",
            "c-1",
            TRACE,
        ]
    attempts = [getattr(record, "attempt", None) for record in caplog.records]
    assert attempts[0] == 1
    assert set(attempts[1:]) <= {1, 2}


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_collector_of_errors_tells_kinds_apart_and_not_messages(
    attempts: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Those group lines by their template: one for a handler and a type, whatever the message."""
    bus = memory_bus()

    @bus.subscriber("bet.placed", id="pay", retry=Retry(attempts=attempts, delay_seconds=1))
    async def pay(bet: Bet) -> None:
        raise CardDeclined(f"{bet.bet_id} declined") if bet.bet_id < 5 else KeyError(bet.bet_id)

    async with bus.test() as t:
        for bet_id in range(10):
            await bus.publish("bet.placed", Bet(bet_id=bet_id), key=str(bet_id))
        await t.settle()

    templates = {record.msg for record in caplog.records if record.levelno == logging.ERROR}
    assert len(templates) == 2
    assert len({record.msg for record in caplog.records}) == (2 if attempts == 1 else 4)


HOSTILE = "\r\n2026-01-01 CRITICAL all is lost\x1b[31m\u2028\u202e"


@pytest.mark.parametrize("where", ["text", "message-id", "correlation-id", "key", "handler"])
async def test_a_line_stays_one_line_whatever_others_write(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = memory_bus()

    @bus.subscriber(
        "bet.placed", id=HOSTILE if where == "handler" else None, retry=Retry(attempts=2, delay_seconds=1)
    )
    async def pay(bet: Bet) -> None:
        raise CardDeclined(HOSTILE if where == "text" else "")

    key = HOSTILE if where == "key" else None
    headers = {where: HOSTILE} if where in ("message-id", "correlation-id") else {}
    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=7), key=key, headers=headers)
        await t.settle()

    assert len(caplog.records) == 2
    for record in caplog.records:
        told = [record.getMessage(), *(str(getattr(record, name)) for name in ABOUT)]
        assert all(text.isprintable() for text in told)
        assert len(record.getMessage()) < 6000


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, "with no key"),
        ("ada", "with key 'ada'"),
        ("", "with key ''"),
        (b"\xff\x00", "with key 0xff00"),
        ("x" * 65, f"with key '{'x' * 64}'..."),
        ("€" * 22, "with key 0xe282ace2"),
    ],
)
async def test_the_key_is_told_as_far_as_it_can_be(
    key: str | bytes | None, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", retry=Retry(attempts=1))
    async def pay(bet: Bet) -> None:
        raise CardDeclined

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=7), key=key)
        await t.settle()

    (end,) = caplog.records
    assert told in end.getMessage()


async def test_a_message_that_cannot_be_read_is_told_of_without_its_payload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", dead_letter="discard")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        await bus.publish("bet.placed", {"BetId": "4111-1111-1111-1111"})
        await t.settle()

    (end,) = caplog.records
    assert "after attempt 1, it is discarded" in end.getMessage()
    assert "BetId" in end.getMessage()
    assert "4111" not in caplog.text


async def test_what_is_held_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", retry=Retry(attempts=1), dead_letter="hold")
    async def pay(bet: Bet) -> None:
        raise CardDeclined("the bank declined")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=7))
        await t.settle()
        await t.advance(60)

    assert [("it is held" in record.getMessage()) for record in caplog.records] == [True]


async def test_a_message_that_is_handled_costs_no_line_of_any_level(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus()
    paid: list[int] = []

    @bus.subscriber("bet.placed")
    async def pay(bet: Bet) -> None:
        paid.append(bet.bet_id)

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=6))
        await t.settle()
        with caplog.at_level(logging.DEBUG, "convex_messaging_fastapi"):
            await bus.publish("bet.placed", Bet(bet_id=7))
            await t.settle()

    assert paid == [6, 7]
    assert not caplog.records


async def test_what_is_discarded_on_purpose_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed")
    async def pay(bet: Bet) -> None:
        raise Discard("paid already")

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=7))
        await t.settle()

    assert not caplog.records


@pytest.mark.parametrize("times", [60, 120])
async def test_a_letter_that_cannot_be_written_is_told_once_and_counted(
    times: int, caplog: pytest.LogCaptureFixture
) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", id="pay", retry=Retry(attempts=1))
    async def pay(bet: Bet) -> None:
        raise CardDeclined("the bank declined")

    async with bus.test() as t:
        t.broker.refuse("convex.dlq", times=times)
        await bus.publish("bet.placed", Bet(bet_id=7), key="ada")
        await t.settle()
        assert len(t.dead_letters()) == 1

    waits, end = [record.getMessage() for record in caplog.records]
    assert "its partition waits until it is written" in waits
    assert "CardDeclined: the bank declined" in waits
    assert re.search(r"its dead letter is convex\.dlq/\d/0 \(written after \d+ tries that failed\): ", end)


async def test_why_a_topic_is_missing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus(create_topics=True)

    @bus.subscriber("bet.placed")
    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        t.broker.down()
        await t.advance(60)
        t.broker.up()
        await t.advance(10)

    told = [record.getMessage() for record in caplog.records if "bet.placed" in record.getMessage()]
    assert told == [
        "topic 'convex.bet.placed' could not be created: the memory broker is down; trying again every 5 s"
    ]


INFO = logging.INFO


async def test_the_life_of_a_bus_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(INFO, "convex_messaging_fastapi")
    bus = memory_bus()

    @bus.subscriber("bet.placed", "bet.won", id="pay")
    async def pay(bet: Bet) -> None: ...

    @bus.receiver("payments", id="work")
    async def work(bet: Bet) -> None: ...

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=7))
        await bus.publish("payments", Bet(bet_id=7))
        await t.settle()
        assert caplog.messages[:3] == [
            "the bus starts: memory, 2 groups",
            "group bets is to read convex.bet.placed, convex.bet.won for pay",
            "group convex.payments is to read convex.payments for work",
        ]
        caplog.clear()

    placed, won = "convex.bet.placed/0-3", "convex.bet.won/0-3"
    assert sorted(caplog.messages) == [
        f"group bets gives up 8 partitions: {placed}, {won}",
        "group convex.payments gives up 4 partitions: convex.payments/0-3",
        "stopping: no handler is at work",
        "the bus has stopped, after 0.0 s",
    ]
    assert {record.levelno for record in caplog.records} == {INFO}


async def test_handlers_that_come_and_go_while_the_bus_runs_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(INFO, "convex_messaging_fastapi")
    bus = memory_bus()

    async def pay(bet: Bet) -> None: ...

    async with bus.test() as t:
        id = await bus.subscribe("bet.placed", pay, id="pay")
        await bus.publish("bet.placed", Bet(bet_id=7))
        await t.settle()
        await bus.unsubscribe(id)
        await t.settle()

    assert caplog.messages == [
        "the bus starts: memory, no groups",
        "group bets is to read convex.bet.placed for pay from now on",
        "group bets holds 4 partitions: convex.bet.placed/0-3",
        "group bets hands nothing more to pay",
        "group bets gives up 4 partitions: convex.bet.placed/0-3",
        "stopping: no handler is at work",
        "the bus has stopped, after 0.0 s",
    ]


@pytest.mark.parametrize("handlers", [1, 30])
@pytest.mark.parametrize("heeds", [True, False])
async def test_a_stop_tells_for_whom_it_waits_and_what_it_gave_up(
    handlers: int, heeds: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One that heeds its cancellation is over then; one in a thread goes on. Both come again."""
    caplog.set_level(INFO, "convex_messaging_fastapi")
    bus = memory_bus(drain_timeout_seconds=20, shutdown_timeout_seconds=25, concurrency=40)
    begun, over = threading.Semaphore(0), threading.Event()

    if heeds:

        @bus.subscriber("bet.placed", id="pay")
        async def pay(bet: Bet) -> None:
            begun.release()
            await asyncio.Event().wait()

    else:

        @bus.subscriber("bet.placed", id="pay")
        def pay_in_a_thread(bet: Bet) -> None:
            begun.release()
            over.wait()

    try:
        async with bus.test() as t:
            for n in range(handlers):
                await bus.publish("bet.placed", Bet(bet_id=n), key=str(n), headers={"message-id": f"m-{n}"})
            for _ in range(handlers):
                while not begun.acquire(blocking=False):
                    await t.advance(0.1)
            caplog.clear()
    finally:
        over.set()

    first, *_ = caplog.messages
    shown, more = min(handlers, 5), f" and {handlers - 5} more" if handlers > 5 else ""
    assert re.fullmatch(
        rf"draining: {handlers} handlers? at work \((pay on convex\.bet\.placed/\d/\d+(, )?){{{shown}}}"
        rf"{more}\), at most 20 s",
        first,
    )
    given_up = [record for record in caplog.records if record.getMessage().startswith("given up")]
    state = "was cancelled" if heeds else "goes on in its thread"
    assert len(given_up) == min(handlers, 20)
    for record in given_up:
        assert record.levelno == logging.WARNING
        assert re.fullmatch(
            rf"given up after 20 s: pay on convex\.bet\.placed/\d/\d+ \(message-id m-\d+\) {state}, "
            "and the message comes again",
            record.getMessage(),
        )
        about = [getattr(record, name, None) for name in ("handler", "group", "attempt")]
        assert about == ["pay", "bets", 1]
    rest = [line for line in caplog.messages if line.endswith("in the same way")]
    assert rest == (["group bets gives up 10 more messages in the same way"] if handlers > 20 else [])
    assert caplog.messages[-1].startswith("the bus has stopped, after 2")


async def test_handlers_that_end_in_time_are_waited_for_and_not_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(INFO, "convex_messaging_fastapi")
    bus = memory_bus()
    begun, may_end = asyncio.Event(), asyncio.Event()

    @bus.subscriber("bet.placed", id="pay")
    async def pay(bet: Bet) -> None:
        begun.set()
        await may_end.wait()

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=7))
        while not begun.is_set():
            await t.advance(0.1)
        t.clock.call_later(3, may_end.set)
        caplog.clear()

    assert "draining: 1 handler at work (pay on convex.bet.placed/" in caplog.messages[0]
    assert not [line for line in caplog.messages if "given up" in line]
