"""Admin where it cannot do what it is asked; what it can do is proved on a real Kafka."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.transport.base import NewTopic
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
