"""Admin where it cannot do what it is asked; what it can do is proved on a real Kafka."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.transport.base import NewTopic
from convex_messaging_fastapi.transport.kafka.engine.connections import client
from tests.support.wire import WireCluster
from tests.transport.kafka.bench import Bench


async def test_a_topic_that_exists_is_left_alone(bench: Bench, wire: WireCluster) -> None:
    wire.track_requests()
    await bench.transport().admin().ensure_topic(NewTopic("orders", partitions=9))
    assert 19 not in wire.requests(), "it was not even asked for"


async def test_no_broker_is_a_reason(bench: Bench, wire: WireCluster) -> None:
    wire.down()
    with pytest.raises(TopicUnavailable, match=r"'payments' could not be created: .*connection refused"):
        await bench.transport().admin().ensure_topic(NewTopic("payments"))


async def test_a_cluster_that_creates_no_topics_is_a_reason(bench: Bench) -> None:
    """The mock names no controller, as a cluster does that is electing one."""
    with pytest.raises(TopicUnavailable, match="could not be created"):
        await bench.transport().admin().ensure_topic(NewTopic("payments"))


async def test_a_broker_that_does_not_answer_is_a_reason(bench: Bench, wire: WireCluster) -> None:
    admin = bench.transport(request_timeout_ms=1000).admin()
    wire.round_trip(1500)
    with pytest.raises(TopicUnavailable, match="could not be created"):
        await admin.ensure_topic(NewTopic("payments"))


async def test_only_the_broker_that_answered_the_probe_is_asked(bench: Bench, wire: WireCluster) -> None:
    """Another of the addresses may lead to one that takes every question and answers none."""
    connections = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()  # until the other side gives up
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as mute:
        port = mute.sockets[0].getsockname()[1]
        servers = f"127.0.0.1:{port},{wire.bootstrap_servers}"
        admin = bench.transport(bootstrap_servers=servers).admin()
        for _ in range(8):
            await admin.ensure_topic(NewTopic("orders"))
        assert connections == 8, "each probe tries it, and nobody else"


async def test_a_question_that_is_swallowed_is_not_waited_for_as_long_as_a_request_may_take(
    bench: Bench, wire: WireCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_MS", 200)
    wire.round_trip(1000)
    with pytest.raises(TopicUnavailable, match="could not be created"):
        await bench.transport(request_timeout_ms=30_000).admin().ensure_topic(NewTopic("orders"))
