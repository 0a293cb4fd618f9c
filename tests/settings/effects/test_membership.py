"""Settings by which a group and its coordinator know a member, as a real Kafka shows them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from convex_messaging_fastapi import MessageBus, MessagingSettings
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster


def bus_on(cluster: Cluster, unique: str, **choices: Any) -> MessageBus:
    usual: dict[str, Any] = {
        "bootstrap_servers": cluster.bootstrap,
        "topic_prefix": unique,
        "consumer_group": unique,
    }
    bus = MessageBus(MessagingSettings(**(usual | choices)))
    bus.subscriber("bet.placed")(handle)
    return bus


async def handle(message: dict[str, Any]) -> None:
    """Finishes every message."""


def members(cluster: Cluster, group: str) -> list[tuple[str, str | None]]:
    """The `client_id` and `group_instance_id` of each member that the coordinator knows."""
    admin = cluster.admin()
    described = admin.describe_consumer_groups([group])[group].result(10)
    return sorted((member.client_id, member.group_instance_id) for member in described.members)


async def in_group(bus: MessageBus) -> None:
    """Wait until the bus's worker holds partitions."""
    await eventually(lambda: bus.status().workers[0].partitions, 20, "partitions")


async def test_client_id_and_consumer_group_are_what_the_coordinator_calls_a_member(
    kafka: Cluster, unique: str
) -> None:
    kafka.create_topic(f"{unique}.bet.placed")

    async with bus_on(kafka, unique, client_id="pod-7") as bus:
        await in_group(bus)
        assert await asyncio.to_thread(members, kafka, unique) == [("pod-7", None)]
    assert await asyncio.to_thread(members, kafka, unique) == [], "it left when it stopped"


async def test_group_instance_id_keeps_a_place_for_session_timeout_ms(kafka: Cluster, unique: str) -> None:
    """A static member that comes back in time stops nobody; one that does not is missed after a session."""
    kafka.create_topic(f"{unique}.bet.placed")
    session = {"session_timeout_ms": 6000}
    one = bus_on(kafka, unique, group_instance_id="pod-1", **session)
    two = bus_on(kafka, unique, group_instance_id="pod-2", **session)

    async with one:
        await in_group(one)
        async with two:
            await eventually(lambda: both_have_two(one, two), 20, "two partitions each")
            revision = one.status().workers[0].revision
            assert [name for _, name in members(kafka, unique)] == ["pod-1", "pod-2"]
        async with two:
            await in_group(two)
        stopped_at = time.monotonic()
        assert [name for _, name in await asyncio.to_thread(members, kafka, unique)] == ["pod-1", "pod-2"]
        assert one.status().workers[0].revision == revision, "nobody was stopped by the restart"

        await eventually(lambda: held(one) == 4, 20, "the partitions of the one that does not come back")
        assert 4 <= time.monotonic() - stopped_at <= 12


def both_have_two(one: MessageBus, two: MessageBus) -> bool:
    return (held(one), held(two)) == (2, 2)


def held(bus: MessageBus) -> int:
    return len(bus.status().workers[0].partitions)
