"""Letters are held against today's handlers: what they would be given, and what they would not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from convex_messaging_fastapi import ConvexMessage, Delivery
from convex_messaging_fastapi.messages import codec_for
from convex_messaging_fastapi.operations import Filter, KnownHandler, Validation
from convex_messaging_fastapi.records import OutgoingRecord
from tests.bus.support import Bet, memory_bus
from tests.operations.support import FAILURE, Desk, a_letter, dotnet, original

MIB = 1024 * 1024


class Payment(ConvexMessage):
    bet_id: int
    amount: float


class Shipped(ConvexMessage):
    parcel: str


def handler(annotation: Any = Payment, id: str = "app.pay", group: str = "payments") -> KnownHandler:
    return KnownHandler(group, id, ("convex.payments",), codec_for(annotation))


def told(result: Validation) -> list[tuple[str, str, str, int, tuple[str, ...]]]:
    return [(each.verdict, each.handler, each.reason, each.count, each.samples) for each in result.results]


async def test_what_would_be_accepted_and_what_would_not_is_counted_by_what_is_said() -> None:
    desk = Desk(handlers=[handler()])
    desk.write(
        a_letter(original(1)),
        a_letter(original(2)),
        a_letter(original(3, value=b'{"BetId":"x"}')),
        a_letter(original(4, value=None)),
    )
    result = await desk.operations.validate()
    assert (result.checked, result.accepted, result.truncated) == (4, 2, "")
    accepted, refused, tombstone = told(result)
    assert accepted == ("accepted", "app.pay", "would be accepted", 2, ("0/0", "0/1"))
    assert refused[0] == "refused"
    assert "BetId: Input should be a valid integer" in refused[2]
    assert "Amount: Field required" in refused[2]
    assert "the value is null (a tombstone" in tombstone[2]


async def test_a_handler_that_is_gone_and_a_group_of_another_app_are_told() -> None:
    desk = Desk(handlers=[handler()])
    desk.write(
        a_letter(original(1), replace(FAILURE, handler="app.old")),
        a_letter(original(2), replace(FAILURE, group="shipping")),
    )
    assert sorted(told(await desk.operations.validate())) == [
        ("no_handler", "app.old", "this app's group has no handler of this name any more", 1, ("0/0",)),
        ("not_known_here", "app.pay", "the group is not one of this app's", 1, ("0/1",)),
    ]


async def test_a_letter_that_names_no_handler_is_held_against_those_of_its_topic() -> None:
    handlers = [handler(), handler(Shipped, "app.ship")]
    desk = Desk(handlers=handlers, dead_letter_topics="orders-dlt")
    desk.write(dotnet(OriginalMessage='{"BetId":1,"Amount":2}'), dotnet(OriginalTopic="convex.unknown"))
    spring = (("kafka_dlt-original-topic", b"convex.payments"), ("kafka_dlt-original-consumer-group", b"g"))
    desk.write(OutgoingRecord(None, b'{"Parcel":"p"}', spring), topic="orders-dlt")
    result = await desk.operations.validate()
    assert result.checked == 3
    assert [(verdict, id, samples) for verdict, id, _, _, samples in sorted(told(result))] == [
        ("accepted", "app.pay", ("0/0",)),
        ("accepted", "app.ship", ("orders-dlt/0/0",)),
        ("not_known_here", "-", ("0/1",)),
        ("refused", "app.pay", ("orders-dlt/0/0",)),
        ("refused", "app.ship", ("0/0",)),
    ]


async def test_what_the_letter_does_not_hold_is_told_and_not_taken_for_null() -> None:
    desk = Desk(handlers=[handler(Payment | None)])
    desk.write(a_letter(original(value=b"x" * MIB), limit_bytes=64 * 1024))
    ((verdict, _, reason, *_),) = told(await desk.operations.validate())
    assert (verdict, reason) == ("not_in_letter", "the letter does not hold the message")


async def test_a_union_is_read_by_the_header_that_the_letter_holds() -> None:
    desk = Desk(handlers=[handler(Payment | Shipped)])
    headers = (("message-type", b"Shipped"),)
    desk.write(a_letter(original(headers=headers)))
    ((verdict, _, reason, *_),) = told(await desk.operations.validate())
    assert verdict == "refused"
    assert "Parcel: Field required" in reason


async def test_a_filter_says_which_letters_are_validated() -> None:
    desk = Desk(handlers=[handler()])
    desk.write(a_letter(original(1)), a_letter(original(2)))
    assert (await desk.operations.validate(Filter(ids=("0/1",)))).checked == 1


async def test_no_handler_and_no_dependency_is_called_and_nothing_is_written() -> None:
    called: list[Bet] = []
    bus = memory_bus(max_retry_attempts=1)

    @bus.subscriber("bets", id="pay")
    async def pay(bet: Bet, delivery: Delivery) -> None:
        called.append(bet)
        raise ValueError("no")

    async with bus.test() as t:
        await bus.publish("bets", Bet(bet_id=1))
        await t.settle()
        before = len(called), len(t.dead_letters()), t.records("dlq.state")
        result = await bus.operations.validate()
        assert [(each.verdict, each.handler) for each in result.results] == [("accepted", "pay")]
        assert before == (len(called), len(t.dead_letters()), t.records("dlq.state"))


async def test_answers_that_all_differ_are_one_from_some_number_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convex_messaging_fastapi.operations.validating.MAX_KINDS", 2)
    desk = Desk(handlers=[handler()])
    desk.write(*(a_letter(original(n), replace(FAILURE, handler=f"h{n}")) for n in range(6)))
    result = await desk.operations.validate()
    assert sorted((each.handler, each.count) for each in result.results) == [("-", 4), ("h0", 1), ("h1", 1)]
