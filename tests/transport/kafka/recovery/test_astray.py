"""A cluster that answers, and sends its clients where nobody is; and one that has no coordinator to give."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.transport.base import Problem
from tests.conftest import KafkaWith
from tests.support.guarded import Guarded
from tests.transport.kafka.bench import Bench

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("door", ["CLOSED", "NAMELESS"])
async def test_an_advertised_address_that_leads_nowhere_is_named(
    guarded: Guarded, unique: str, door: str
) -> None:
    """And nobody says that the topic is missing: no broker was asked."""
    topic = guarded.cluster.create_topic(unique, partitions=1)
    bench = Bench(guarded.astray[door], real=True)
    try:
        reader, producer = await bench.reader(topic, group=unique), await bench.producer()
        expected = (
            f"the cluster answers at {guarded.astray[door]}, but names its broker 1 as "
            f"{guarded.named[door]}, which cannot be reached: check advertised.listeners"
        )
        parts = (reader.consumer, producer)
        await reader.until(lambda: {part.contact().detail for part in parts} == {expected}, "its address", 20)
        assert {part.contact().problem for part in parts} == {Problem.BROKER_UNREACHABLE}
    finally:
        await bench.close()


async def test_a_group_without_a_coordinator_says_so_with_the_brokers_word(
    kafka_with: KafkaWith, unique: str
) -> None:
    """One broker, and an internal topic that wants three."""
    cluster = kafka_with({"offsets.topic.replication.factor": "3"}, coordinated=False)
    topic = cluster.create_topic(unique, partitions=1)
    bench = Bench(cluster.bootstrap, real=True)
    try:
        reader = await bench.reader(topic, group=unique, tuning={"coordinator_seconds": 2.0})
        await reader.until(lambda: reader.consumer.contact().problem is Problem.NO_COORDINATOR, "its problem")
        detail = reader.consumer.contact().detail
        assert f"group {unique} has had no coordinator for 2 s: GroupCoordinatorNotAvailableError" in detail
        assert "can the cluster make and lead its topic __consumer_offsets?" in detail
    finally:
        await bench.close()
