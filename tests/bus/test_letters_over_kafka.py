"""Dead letters and rights on a real Kafka: what its topics take, what it grants, and what that costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from convex_messaging_fastapi import MessageBus, MessagingSettings, Retry
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import PublishError
from convex_messaging_fastapi.messages import DeadLetterMessage
from convex_messaging_fastapi.observers import ONLY_THE_LOG
from convex_messaging_fastapi.transport.kafka import kafka_transport
from convex_messaging_fastapi.verdicts import Verdict, ready
from tests.support.guarded import Guarded
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster

SECONDS = 30.0
MIB = 1024 * 1024


def settings_of(cluster: Cluster, name: str, **choices: Any) -> MessagingSettings:
    return MessagingSettings(
        **{
            "bootstrap_servers": cluster.bootstrap,
            "consumer_group": name,
            "topic_prefix": name,
            "session_timeout_ms": 6000,
            "publish_timeout_seconds": 5,
            "drain_timeout_seconds": 1,
            "shutdown_timeout_seconds": 3,
            **choices,
        }
    )


@pytest.mark.parametrize("limit", [1_048_588, 300_000])
async def test_what_a_topic_takes_is_asked_for_before_a_letter_is_written(
    kafka: Cluster, independent: Independent, unique: str, limit: int
) -> None:
    """A refused batch would have cost everybody here the producer."""
    for topic, config in ((f"{unique}.placed", {"max.message.bytes": str(4 * MIB)}), (f"{unique}.dlq", {})):
        chosen = config or {"max.message.bytes": str(limit)}
        await asyncio.to_thread(kafka.create_topic, topic, 1, 1, chosen)
    settings = settings_of(kafka, unique)
    admin = kafka_transport(settings, SystemClock(), ONLY_THE_LOG).admin()
    assert await admin.largest_message(f"{unique}.dlq") == limit
    assert await admin.largest_message(f"{unique}.nowhere") is None
    assert await admin.retention_ms(f"{unique}.dlq") == MessagingSettings().message_retention_ms
    assert await admin.retention_ms(f"{unique}.nowhere") is None

    bus = MessageBus(settings)

    @bus.subscriber("placed", retry=Retry(attempts=1))
    async def fail(message: dict[str, Any]) -> None:
        raise ValueError("no")

    async with bus:
        await bus.publish_many("placed", [{"n": n, "x": "x" * (limit + n % 2 * 1000)} for n in range(20)])
        await bus.publish("placed", {"n": 20, "x": "x" * (limit // 2)})
        await eventually(lambda: buried(bus) == 21, SECONDS, "every letter")
        assert ready(bus.status()) == Verdict(True, "up")
        producer = bus.status().producer
        assert producer is not None
        assert producer.contact.rebuilds == 0
    letters = [
        DeadLetterMessage.model_validate_json(record.value or b"")
        for record in await asyncio.to_thread(independent.read, f"{unique}.dlq")
    ]
    assert sorted(letter.payload_omitted for letter in letters) == [False] + [True] * 20


async def test_a_topic_too_small_for_any_letter_costs_no_storm_of_connections(
    kafka: Cluster, unique: str
) -> None:
    await asyncio.to_thread(kafka.create_topic, f"{unique}.placed", 4)
    await asyncio.to_thread(kafka.create_topic, f"{unique}.dlq", 1, 1, {"max.message.bytes": "300"})
    bus = MessageBus(settings_of(kafka, unique, concurrency=64))

    @bus.subscriber("placed", retry=Retry(attempts=1))
    async def fail(message: dict[str, Any]) -> None:
        raise ValueError("no")

    async with bus:
        await bus.publish_many("placed", [{"n": n} for n in range(64)], key=lambda m: str(m["n"]))
        await eventually(lambda: ready(bus.status()).reasons == ("dlq_unavailable",), SECONDS, "no letters")
        await eventually(lambda: waiting(bus) == 64, SECONDS, "all of them to wait")
        producer = bus.status().producer
        assert producer is not None
        assert producer.contact.rebuilds == 0


@pytest.mark.parametrize("policy", ["discard", "hold"])
async def test_a_service_that_may_only_read_is_ready_and_the_first_publish_shows_what_it_lacks(
    guarded: Guarded, unique: str, policy: Any
) -> None:
    """READ on its topic and its group, and no more."""
    user = guarded.new_user()
    topic = f"{unique}.placed"
    await asyncio.to_thread(guarded.cluster.create_topic, topic, 1)
    await asyncio.to_thread(guarded.grant, user, "READ", topic=topic)
    await asyncio.to_thread(guarded.grant, user, "READ", group=unique)
    settings = settings_of(guarded.cluster, unique, **user.settings)
    bus, got = MessageBus(settings), list[int]()

    @bus.subscriber("placed", dead_letter=policy)
    async def handle(message: dict[str, Any]) -> None:
        got.append(message["n"])

    writer = Independent(guarded.cluster.witnessed)
    async with bus:
        await asyncio.to_thread(writer.write, topic, [b'{"n":1}'])
        await eventually(lambda: got == [1], SECONDS, "the message to be handled")
        await eventually(lambda: producer_problem(bus) == "not_authorized", SECONDS, "the refusal")
        assert ready(bus.status()) == Verdict(True, "up")
        with pytest.raises(PublishError):
            await bus.publish("placed", {"n": 2}, timeout=1)
        assert ready(bus.status()) == Verdict(False, "down", ("not_authorized",))


async def test_a_service_that_buries_needs_the_right_to_write_from_the_start(
    guarded: Guarded, unique: str
) -> None:
    user = guarded.new_user()
    topic = f"{unique}.placed"
    await asyncio.to_thread(guarded.cluster.create_topic, topic, 1)
    await asyncio.to_thread(guarded.grant, user, "READ", topic=topic)
    await asyncio.to_thread(guarded.grant, user, "READ", group=unique)
    bus = MessageBus(settings_of(guarded.cluster, unique, **user.settings))

    @bus.subscriber("placed")
    async def handle(message: dict[str, Any]) -> None: ...

    async with bus:
        wanted = Verdict(False, "down", ("not_authorized", "dlq_unavailable"))
        await eventually(lambda: ready(bus.status()) == wanted, SECONDS, "both to be told")


def buried(bus: MessageBus) -> int:
    return sum(sub.buried for worker in bus.status().workers for sub in worker.subscriptions)


def waiting(bus: MessageBus) -> int:
    return sum(sub.waiting + sub.running for worker in bus.status().workers for sub in worker.subscriptions)


def producer_problem(bus: MessageBus) -> str | None:
    producer = bus.status().producer
    return None if producer is None else producer.contact.problem
