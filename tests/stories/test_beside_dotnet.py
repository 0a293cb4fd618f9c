"""Beside .NET services on one Kafka: what they write is handled, what we write has the bytes they expect."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from convex_messaging_fastapi import ConvexMessage, Delivery, MessageBus, MessagingSettings
from tests.support.independent import Independent
from tests.support.services import Service, service
from tests.support.waiting import until
from tools.kafka.cluster import Cluster

USER_CREATED = (
    '{"UserId":42,"Email":"ada@example.com","CreatedAt":"2026-01-01T00:00:00.1234567Z","Plan":"new"}'
)
BET_PLACED = '{"BetId":7,"UserId":42,"Stake":100.10,"Card":"4242"}'
BET_DECLINED = '{"BetId":8,"UserId":42,"Stake":0.30,"Card":"declined"}'
HEADERS: list[tuple[str, str | bytes | None]] = [
    ("message-type", "UserCreated"),
    ("timestamp", "1767225600"),
    ("correlation-id", "from-dotnet"),
]


class AccountOpened(ConvexMessage):
    """As wide as what .NET writes: a time with ticks, money as a number, a number no float can hold."""

    account_id: int
    opened_at: datetime
    balance: Decimal
    credit: Decimal | None = None


class Told(NamedTuple):
    message: AccountOpened
    delivery: Delivery


@pytest.fixture
def example(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[Service]:
    """The example app on a real Kafka, its topics under `unique`."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC_PREFIX": unique,
        "KAFKA_CONSUMER_GROUP": f"{unique}-bets",
    }
    with service(tmp_path, environment) as app:
        yield app.wait_ready(60)


async def test_a_typed_handler_gets_what_dotnet_wrote_digit_for_digit(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    bus = MessageBus(settings(kafka, unique))
    told: asyncio.Queue[Told] = asyncio.Queue()

    @bus.subscriber("account.opened")
    async def note(message: AccountOpened, delivery: Delivery) -> None:
        told.put_nowait(Told(message, delivery))

    await asyncio.to_thread(kafka.create_topic, f"{unique}.account.opened")
    written = (
        '{"AccountId":9007199254740993,"OpenedAt":"2026-01-01T00:00:00.1234567Z",'
        '"Balance":12345678901234567.89,"Credit":100.00,"Branch":null}'
    )
    await asyncio.to_thread(
        independent.write, f"{unique}.account.opened", [written], key="42", headers=HEADERS
    )
    async with bus, asyncio.timeout(30):
        message, delivery = await told.get()

    assert message.account_id == 9_007_199_254_740_993
    assert message.opened_at == datetime(2026, 1, 1, 0, 0, 0, 123456, UTC), "of the ticks, what we can hold"
    assert [str(message.balance), str(message.credit)] == ["12345678901234567.89", "100.00"]
    assert (delivery.key, delivery.correlation_id) == (b"42", "from-dotnet")
    assert await asyncio.to_thread(independent.lag, unique, f"{unique}.account.opened") == 0


async def test_what_we_publish_has_the_golden_bytes_and_headers(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    bus = MessageBus(settings(kafka, unique))
    message = AccountOpened(
        account_id=9_007_199_254_740_993,
        opened_at=datetime(2026, 1, 1, 0, 0, 0, 123456, UTC),
        balance=Decimal("100.00"),
    )
    await asyncio.to_thread(kafka.create_topic, f"{unique}.account.opened")
    before = int(datetime.now(UTC).timestamp())
    async with bus:
        receipt = await bus.publish("account.opened", message, key="ñ", correlation_id="c-1")
    (seen,) = await asyncio.to_thread(independent.read, f"{unique}.account.opened")

    assert seen.value == (
        b'{"AccountId":9007199254740993,"OpenedAt":"2026-01-01T00:00:00.123456Z","Balance":100.00,"Credit":null}'
    )
    assert seen.key == b"\xc3\xb1"
    assert (seen.partition, seen.offset) == (receipt.partition, receipt.offset)
    assert [name for name, _ in seen.headers] == [
        "message-type",
        "timestamp",
        "message-id",
        "correlation-id",
        "content-type",
    ]
    headers = {name: (value or b"").decode() for name, value in seen.headers}
    assert before <= int(headers["timestamp"]) <= datetime.now(UTC).timestamp()
    assert str(uuid.UUID(headers["message-id"])) == headers["message-id"]
    assert (headers["message-type"], headers["correlation-id"], headers["content-type"]) == (
        "AccountOpened",
        "c-1",
        "application/json",
    )


def test_the_example_handles_what_dotnet_wrote_and_answers_in_kind(
    example: Service, independent: Independent, unique: str
) -> None:
    """From .NET's events to our commands, which keep the key, the digits and the correlation id."""
    independent.write(f"{unique}.user.created", [USER_CREATED], key="42", headers=HEADERS)
    independent.write(f"{unique}.bet.placed", [BET_PLACED], key="42", headers=HEADERS)
    until(
        lambda: handled(example) >= {"greet", "send_welcome", "collect_stake", "take_payment"}, 20, "all four"
    )

    (welcome,) = independent.read(f"{unique}.user.notifications")
    (payment,) = independent.read(f"{unique}.payments")
    assert welcome.value == b'{"UserId":42,"Email":"ada@example.com"}'
    assert (payment.key, payment.value) == (b"42", b'{"BetId":7,"Amount":100.10,"Card":"4242"}')
    assert ("correlation-id", b"from-dotnet") in payment.headers
    assert ("message-type", b"TakePayment") in payment.headers


def test_a_dead_letter_has_the_names_that_dotnet_reads(
    example: Service, independent: Independent, unique: str
) -> None:
    independent.write(f"{unique}.bet.placed", [BET_DECLINED], key="42", headers=HEADERS)
    until(lambda: example.get("/dead-letters"), 20, "the declined payment to be buried and shown")

    (letter,) = independent.read(f"{unique}.dlq")
    said = json.loads(letter.value or b"")
    assert letter.key == b"42"
    assert said["OriginalTopic"] == f"{unique}.payments"
    assert said["OriginalMessage"] == '{"BetId":8,"Amount":0.30,"Card":"declined"}'
    assert "declined the payment for bet 8" in said["ErrorMessage"]
    assert datetime.fromisoformat(said["FailedAt"]).tzinfo is not None
    assert (said["Attempts"], said["ConsumerGroup"]) == (3, f"{unique}.payments")


def handled(app: Service) -> set[str]:
    return {row["handler"] for row in app.get("/handled")}


def settings(kafka: Cluster, unique: str) -> MessagingSettings:
    return MessagingSettings(bootstrap_servers=kafka.bootstrap, topic_prefix=unique, consumer_group=unique)
