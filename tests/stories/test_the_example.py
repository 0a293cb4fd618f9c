"""The example app tells its stories: in this process, and as `make run` starts it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from example_app.main import bus
from example_app.messages import BetPlaced, SendWelcome
from tests.stories.conftest import Visitor
from tests.support.services import service
from tests.support.waiting import until


async def test_a_new_user_is_welcomed(visitor: Visitor) -> None:
    assert await visitor.post("/users", email="ada@example.com") == {"user_id": 1}
    await visitor.bench.settle()

    assert await visitor.get("/users") == [{"id": 1, "email": "ada@example.com", "welcomed": 1}]
    assert visitor.bench.published("user.notifications") == [{"UserId": 1, "Email": "ada@example.com"}]
    assert await visitor.get("/handled") == [
        {"handler": "greet", "messages": 1, "calls": 1},
        {"handler": "send_welcome", "messages": 1, "calls": 1},
    ]
    assert visitor.bench.dead_letters() == []


async def test_a_bet_is_paid(visitor: Visitor) -> None:
    assert await visitor.post("/bets", user_id=7, stake="10.00") == {"bet_id": 1}
    await visitor.bench.settle()

    (bet,) = await visitor.get("/bets")
    assert (bet["status"], bet["stake"]) == ("paid", "10.00")
    (record,) = visitor.bench.records("payments")
    assert (record.key, record.value) == (b"7", b'{"BetId":1,"Amount":10.00,"Card":"4242"}')


async def test_a_declined_payment_is_tried_three_times_and_shown_among_the_dead_letters(
    visitor: Visitor,
) -> None:
    started = visitor.bench.clock.now()
    await visitor.post("/bets", user_id=7, stake="10.00", card="declined")
    await visitor.post("/bets", user_id=7, stake="5.00")
    await visitor.bench.settle()

    (letter,) = visitor.bench.dead_letters()
    assert (letter.original_topic, letter.attempts) == ("convex.payments", 3)
    assert 0.4 < visitor.bench.clock.now() - started <= 0.6, "0.2 s and 0.4 s, less the jitter"
    (shown,) = await visitor.get("/dead-letters")
    assert shown["topic"] == "convex.payments"
    assert shown["message"] == '{"BetId":1,"Amount":10.00,"Card":"declined"}'
    assert "declined the payment for bet 1" in shown["error"]
    assert [bet["status"] for bet in await visitor.get("/bets")] == ["placed", "paid"]
    assert {"handler": "note_dead_letter", "messages": 1, "calls": 1} in await visitor.get("/handled")


async def test_the_id_of_a_request_goes_along_to_the_last_message_that_it_causes(visitor: Visitor) -> None:
    user = {"email": "ada@example.com"}
    await visitor.http.post("/users", json=user, headers={"X-Request-ID": "request-17"})
    await visitor.bench.settle()

    (command,) = visitor.bench.records("user.notifications")
    assert dict(command.headers)["correlation-id"] == b"request-17"


async def test_a_stake_of_nothing_is_refused_before_anything_is_published(visitor: Visitor) -> None:
    refused = await visitor.http.post("/bets", json={"user_id": 7, "stake": "0"})

    assert refused.status_code == 422
    assert visitor.bench.published("bet.placed") == []


async def test_without_a_broker_the_caller_is_told_so(visitor: Visitor) -> None:
    visitor.bench.broker.down()
    asking = asyncio.create_task(visitor.http.post("/users", json={"email": "ada@example.com"}))
    while not asking.done():
        await visitor.bench.advance(1)
    told = await asking

    assert (told.status_code, told.headers["retry-after"]) == (503, "5")
    assert "certainly not written" in told.json()["detail"]
    visitor.bench.broker.up()


async def test_a_message_that_comes_again_has_no_second_effect(visitor: Visitor) -> None:
    """At least once is what Kafka gives; the inbox makes it once."""
    for _ in range(2):
        command = SendWelcome(user_id=1, email="ada@example.com")
        await bus.send("user.notifications", command, headers={"message-id": "the-same"})
    await visitor.bench.settle()

    assert await visitor.get("/handled") == [{"handler": "send_welcome", "messages": 1, "calls": 2}]


async def test_an_event_that_comes_again_causes_no_second_payment(visitor: Visitor) -> None:
    for _ in range(2):
        event = BetPlaced(bet_id=1, user_id=7, stake=Decimal("10.00"), card="4242")
        await bus.publish("bet.placed", event, headers={"message-id": "the-same"})
    await visitor.bench.settle()

    assert len(visitor.bench.published("payments")) == 2
    assert {"handler": "take_payment", "messages": 1, "calls": 2} in await visitor.get("/handled")


def test_it_tells_its_story_as_a_process_with_nothing_set(tmp_path: Path) -> None:
    with service(tmp_path) as app:
        app.wait_ready()
        app.post("/users", {"email": "ada@example.com"})
        app.post("/bets", {"user_id": 1, "stake": "10.00"})
        app.post("/bets", {"user_id": 1, "stake": "10.00", "card": "declined"})
        until(lambda: app.get("/dead-letters"), 10, "the declined payment to be buried and shown")
        until(lambda: [u["welcomed"] for u in app.get("/users")] == [1], 10, "the user to be welcomed")
        until(lambda: app.get("/bets")[0]["status"] == "paid", 10, "the bet to be paid")
        assert app.get("/health/kafka") == {"status": "up"}
        assert app.terminate(10) < 0, "uvicorn ends by the signal it was given, after a clean shutdown"
    assert "Application shutdown complete" in app.tail()
    assert "take_payment gave up on convex.payments/" in app.tail(), "the log tells where it failed"
    assert "CardDeclined: the bank declined the payment for bet 2" in app.tail()


HOSTILE: dict[str, tuple[str, str]] = {
    "a number that no database takes": ("/bets", '{"user_id":123456789012345678901234567890,"stake":"1"}'),
    "a negative number": ("/bets", '{"user_id":-1,"stake":"1"}'),
    "a stake of a million digits": ("/bets", '{"user_id":1,"stake":"1E+1000000"}'),
    "a stake beyond a float": ("/bets", '{"user_id":1,"stake":1e400}'),
    "NaN": ("/bets", '{"user_id":1,"stake":NaN}'),
    "a stake with many digits": ("/bets", '{"user_id":1,"stake":"1234567890123.00"}'),
    "a long card": ("/bets", '{"user_id":1,"stake":"1","card":"%s"}' % ("4" * 65)),
    "half a character as a card": ("/bets", '{"user_id":1,"stake":"1","card":"\\ud800"}'),
    "half a character as an address": ("/users", '{"email":"\\ud800"}'),
    "an address of 2 MB": ("/users", '{"email":"%s"}' % ("a" * 2_000_000)),
    "no address": ("/users", '{"email":""}'),
}


@pytest.mark.parametrize(("path", "body"), HOSTILE.values(), ids=HOSTILE)
async def test_what_could_not_be_stored_or_announced_is_refused_first(
    path: str, body: str, visitor: Visitor
) -> None:
    refused = await visitor.http.post(path, content=body, headers={"content-type": "application/json"})

    assert refused.status_code == 422
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    assert refused.json()["detail"], "it says why"
    assert await visitor.get(path) == [], "nothing was stored"
    assert visitor.bench.published("bet.placed") == visitor.bench.published("user.created") == []


async def test_what_is_no_dead_letter_silences_no_page(visitor: Visitor) -> None:
    """Whoever may write to the topic could, with one message a partition."""
    await visitor.post("/bets", user_id=7, stake="10.00", card="declined")
    letters = visitor.bench.broker.end_offsets("convex.dlq")
    for partition in range(len(letters)):
        visitor.bench.broker.append(
            TopicPartition("convex.dlq", partition), [OutgoingRecord(None, b"garbage")]
        )
    await visitor.bench.settle()

    assert len(await visitor.get("/dead-letters")) == 1
    assert all(not held.held for worker in bus.status().workers for held in worker.partitions)
