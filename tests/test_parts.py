"""What needs no handlers: the parts are made without an event loop, and publish without a worker."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi import MessagingSettings
from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.parts import Parts, parts_for, transport_for
from convex_messaging_fastapi.transport.memory import shared_broker


def parts_over(bootstrap_servers: str, *, create_topics: bool = False) -> Parts:
    settings = MessagingSettings(bootstrap_servers=bootstrap_servers, create_topics=create_topics)
    clock = ManualClock()
    return parts_for(settings, transport_for(settings, clock), clock)


@pytest.mark.parametrize("bootstrap_servers", ["memory://", "localhost:1"])
@pytest.mark.parametrize("create_topics", [False, True])
def test_they_are_made_without_an_event_loop(bootstrap_servers: str, create_topics: bool) -> None:
    parts = parts_over(bootstrap_servers, create_topics=create_topics)
    assert not parts.publishing.status().alive


async def test_they_publish_without_a_worker() -> None:
    parts = parts_over("memory://parts")
    broker = shared_broker("parts", parts.clock)
    await parts.publishing.start()
    tasks = asyncio.all_tasks()
    try:
        receipt = await parts.publishing.publish("bet.placed", {}, None, None, None, timeout=1)
        begun = {task.get_name() for task in asyncio.all_tasks() - tasks}
        assert [record.value for record in broker.records(receipt.topic)] == [b"{}"]
        assert not {name for name in begun if not name.startswith("convex-publish")}
    finally:
        await parts.publishing.stop(1)


@pytest.mark.parametrize(
    ("topic", "largest"), [("bet.placed", None), ("dlq", str(2 * 1024 * 1024 + 64 * 1024))]
)
def test_the_topic_of_dead_letters_takes_more_than_any_other(topic: str, largest: str | None) -> None:
    settings = MessagingSettings(
        bootstrap_servers="memory://", max_message_bytes=1024 * 1024, message_retention_ms=1000
    )
    clock = ManualClock()
    parts = parts_for(settings, transport_for(settings, clock), clock)
    made = parts.new_topic(parts.naming.topic(topic))
    assert made.config.get("max.message.bytes") == largest
    assert made.config["retention.ms"] == "1000"
