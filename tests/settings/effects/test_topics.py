"""Settings of topics that we create, as a real Kafka shows them, and of where the broker is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka.admin._config import ConfigResource

from convex_messaging_fastapi import MessageBus, MessagingSettings, PublishFailed
from tests.support.independent import Independent
from tests.support.waiting import until
from tools.kafka.cluster import Cluster

RETENTION_MS = 3_600_000


def bus_on(cluster: Cluster, unique: str, **choices: Any) -> MessageBus:
    usual: dict[str, Any] = {
        "bootstrap_servers": cluster.bootstrap,
        "topic_prefix": unique,
        "consumer_group": unique,
    }
    return MessageBus(MessagingSettings(**(usual | choices)))


async def handle(message: dict[str, Any]) -> None:
    """Finishes every message."""


async def created(cluster: Cluster, *topics: str) -> None:
    """Wait until these are there."""
    await asyncio.to_thread(
        until, lambda: set(topics) <= set(cluster.metadata().topics), 20, f"topics {topics}"
    )


def configuration(cluster: Cluster, topic: str) -> Mapping[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = cluster.admin()  # held, for an answer does not outlive its client
    described = admin.describe_configs([resource])[resource].result(10)
    return {name: entry.value for name, entry in described.items()}


def shape(cluster: Cluster, topic: str) -> tuple[int, int]:
    """How many partitions and replicas a topic has."""
    partitions = cluster.metadata().topics[topic].partitions
    return len(partitions), len(partitions[0].replicas)


async def test_create_topics_makes_what_is_read_what_is_written_and_what_is_read_later(
    kafka: Cluster, unique: str
) -> None:
    """As `message_retention_ms` and `topic_partitions` say."""
    choices = {"message_retention_ms": RETENTION_MS, "topic_partitions": 3}
    bus = bus_on(kafka, unique, create_topics=True, **choices)
    bus.subscriber("read")(handle)
    names = [f"{unique}.{name}" for name in ("read", "written", "read.later", "queue", "dlq")]

    async with bus:
        await bus.publish("written", {})
        await bus.subscribe("read.later", handle)
        await bus.receive("queue", handle)
        await created(kafka, *names)
    for name in names:
        assert configuration(kafka, name)["retention.ms"] == str(RETENTION_MS)
        assert shape(kafka, name) == (3, 1)


async def test_without_create_topics_nothing_is_made_but_the_dead_letter_topic(
    kafka: Cluster, unique: str
) -> None:
    bus = bus_on(kafka, unique)
    bus.subscriber("read")(handle)

    async with bus:
        with pytest.raises(PublishFailed, match="KAFKA_CREATE_TOPICS=true"):
            await bus.publish("written", {})
        await created(kafka, f"{unique}.dlq")
    assert [name for name in kafka.metadata().topics if name.startswith(unique)] == [f"{unique}.dlq"]


async def test_what_is_left_open_is_the_brokers_choice_and_a_week(kafka: Cluster, unique: str) -> None:
    async with bus_on(kafka, unique, create_topics=True) as bus:
        await bus.publish("written", {})
    assert configuration(kafka, f"{unique}.written")["retention.ms"] == "604800000"
    assert shape(kafka, f"{unique}.written") == (4, 1)


@pytest.mark.parametrize(("chosen", "replicas"), [({}, 3), ({"replication_factor": 2}, 2)])
async def test_replication_factor_is_how_many_copies_a_topic_has(
    kafka_cluster: Cluster, unique: str, chosen: dict[str, Any], replicas: int
) -> None:
    async with bus_on(kafka_cluster, unique, create_topics=True, **chosen) as bus:
        await bus.publish("written", {})
    assert shape(kafka_cluster, f"{unique}.written")[1] == replicas


async def test_bootstrap_servers_may_name_several_and_one_that_answers_is_enough(
    kafka: Cluster, independent: Independent, unique: str
) -> None:
    kafka.create_topic(f"{unique}.written")
    bus = bus_on(kafka, unique, bootstrap_servers=f"127.0.0.1:1,{kafka.bootstrap}")

    async with bus:
        await bus.publish("written", {"a": 1})
    assert [seen.value for seen in independent.read(f"{unique}.written")] == [b'{"a":1}']


async def test_bootstrap_servers_may_be_in_memory_private_or_shared_by_name(unique: str) -> None:
    heard: dict[str, asyncio.Event] = {name: asyncio.Event() for name in ("private", "shared")}

    async def listen(name: str, address: str) -> MessageBus:
        bus = MessageBus(MessagingSettings(bootstrap_servers=address, consumer_group=name))

        async def hear(message: dict[str, Any]) -> None:
            heard[name].set()

        bus.subscriber("written")(hear)
        return bus

    private = await listen("private", "memory://")
    shared = await listen("shared", f"memory://{unique}")
    writer = MessageBus(MessagingSettings(bootstrap_servers=f"memory://{unique}", consumer_group="writer"))
    async with private, shared, writer:
        await writer.publish("written", {})
        await asyncio.wait_for(heard["shared"].wait(), 10)
    assert not heard["private"].is_set()
