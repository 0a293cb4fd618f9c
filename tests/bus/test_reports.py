"""What the log says of a message that failed, so that nobody has to look for it in the dead letters."""

from __future__ import annotations

import logging

import pytest

from convex_messaging_fastapi import Discard, Retry
from tests.bus.support import Bet, memory_bus


class CardDeclined(Exception):
    """The bank said no."""


async def test_each_attempt_that_failed_and_the_end_are_told(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", id="pay", retry=Retry(attempts=2, delay_seconds=5, jitter=0))
    async def pay(bet: Bet) -> None:
        raise CardDeclined("the bank declined")

    async with bus.test() as t:
        where = await bus.publish("bet.placed", Bet(bet_id=7))
        await t.settle()

    place = f"convex.bet.placed/{where.partition}/{where.offset}"
    again, end = [record.getMessage() for record in caplog.records]
    assert again.startswith(f"pay failed on {place}, attempt 1, again in 5.0 s: ")
    assert again.endswith("CardDeclined: the bank declined")
    assert end.startswith(f"pay gave up on {place} after attempt 2, it goes to the dead letters: ")
    assert "CardDeclined: the bank declined\n" in end
    assert "in pay" in end, "the place where it was raised"
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


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
        with caplog.at_level(logging.DEBUG, "convex_messaging_fastapi"):
            await bus.publish("bet.placed", Bet(bet_id=7))
            await t.settle()

    assert paid == [7]
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


async def test_a_letter_that_cannot_be_written_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed", retry=Retry(attempts=1))
    async def pay(bet: Bet) -> None:
        raise CardDeclined("the bank declined")

    async with bus.test() as t:
        t.broker.refuse("convex.dlq", times=60)
        await bus.publish("bet.placed", Bet(bet_id=7), key="ada")
        await t.settle()
        assert len(t.dead_letters()) == 1

    assert any("the dead letter of convex.bet.placed/" in record.getMessage() for record in caplog.records)


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
