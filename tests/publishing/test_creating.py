"""A topic that is missing is made when it is first written to, once, and as the settings describe it."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import PublishFailed, TopicUnavailable
from convex_messaging_fastapi.publishing import CreatingProducer, Partitioner, Publisher
from convex_messaging_fastapi.transport.base import NewTopic
from tests.publishing.fakes import FakeProducer, record


class Admin:
    """Makes topics of four partitions on the fake producer's cluster, unless it may not."""

    def __init__(self, producer: FakeProducer) -> None:
        self._producer = producer
        self.made: list[NewTopic] = []
        self.may_not = False

    async def ensure_topic(self, topic: NewTopic) -> None:
        if self.may_not:
            raise TopicUnavailable(f"topic {topic.name!r} could not be created: you may not")
        self.made.append(topic)
        self._producer.partitions = 4

    async def largest_message(self, topic: str) -> int | None:
        return None

    async def retention_ms(self, topic: str) -> int | None:
        return None


def describe(name: str) -> NewTopic:
    return NewTopic(name, partitions=4)


async def test_a_missing_topic_is_made_once_and_one_that_exists_is_not() -> None:
    producer = FakeProducer()
    producer.partitions = None
    producer.at_once = True
    admin = Admin(producer)
    publisher = Publisher(CreatingProducer(producer, admin, describe), SystemClock(), Partitioner("murmur2"))
    await publisher.start()
    await publisher.publish("bets", record(1), timeout=5)
    await publisher.publish("bets", record(2), timeout=5)
    await publisher.publish("known", record(3), timeout=5)
    await publisher.stop(5)

    assert admin.made == [describe("bets")]
    assert producer.values("bets") == [b"1", b"2"]
    assert producer.alone == 3
    assert producer.stopped_with is not None


async def test_why_it_cannot_be_made_reaches_the_caller() -> None:
    producer = FakeProducer()
    producer.partitions = None
    admin = Admin(producer)
    admin.may_not = True
    publisher = Publisher(CreatingProducer(producer, admin, describe), SystemClock(), Partitioner("murmur2"))
    await publisher.start()
    with pytest.raises(PublishFailed, match="you may not"):
        await publisher.publish("bets", record(1), timeout=5)
    await publisher.stop(5)
