"""A real Kafka that grants and withdraws rights: what is missing is told, and past once it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from convex_messaging_fastapi import PublishFailed
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Problem
from tests.support.guarded import Guarded, User
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tests.transport.kafka.bench import Bench, Reader, bus_over

pytestmark = pytest.mark.kafka


@pytest.fixture
async def bench(guarded: Guarded) -> AsyncIterator[Bench]:
    bench = Bench(guarded.cluster.bootstrap, real=True)
    yield bench
    await bench.close()


async def grant(guarded: Guarded, user: User, *operations: str, **to: Any) -> None:
    await asyncio.to_thread(guarded.grant, user, *operations, **to)


async def withdraw(guarded: Guarded, user: User, *operations: str, **of: Any) -> None:
    await asyncio.to_thread(guarded.withdraw, user, *operations, **of)


async def reader_of(bench: Bench, guarded: Guarded, group: str, *topics: str) -> tuple[Reader, User]:
    """With the rights to read, and an assignment."""
    user = guarded.new_user()
    for topic in topics:
        await grant(guarded, user, "READ", topic=topic)
    await grant(guarded, user, "READ", group=group)
    reader = await bench.reader(*topics, group=group, **user.settings)
    await reader.until(lambda: len(reader.listener.held) == len(topics), "an assignment")
    return reader, user


async def test_a_right_that_is_missing_on_one_topic_is_that_topics_alone_and_is_past_when_it_comes_back(
    bench: Bench, guarded: Guarded, unique: str
) -> None:
    """Nobody writes to it meanwhile, so nothing of it is ever read."""
    open_one, closed = (guarded.cluster.create_topic(f"{unique}-{name}", 1) for name in ("open", "closed"))
    reader, user = await reader_of(bench, guarded, unique, open_one, closed)
    both = {TopicPartition(open_one, 0): 0, TopicPartition(closed, 0): 0}
    assert await reader.commit(both) is CommitOutcome.COMMITTED

    await withdraw(guarded, user, "READ", topic=closed)
    await reader.until(
        lambda: reader.consumer.contact().problem is Problem.NOT_AUTHORIZED, "a word of the refusal"
    )
    witness = Independent(guarded.cluster.witnessed)
    await asyncio.to_thread(witness.write, open_one, [b"a"])
    assert await reader.read(1) == [b"a"]
    both = {TopicPartition(open_one, 0): 1, TopicPartition(closed, 0): 0}
    assert await reader.outcomes(both) == {
        TopicPartition(open_one, 0): CommitOutcome.COMMITTED,
        TopicPartition(closed, 0): CommitOutcome.REFUSED,
    }
    assert (await asyncio.to_thread(witness.committed, unique, open_one))[0].offset == 1
    assert set(reader.consumer.contact().refusals) == {TopicPartition(closed, 0)}

    await grant(guarded, user, "READ", topic=closed)
    await reader.until(lambda: reader.consumer.contact().problem is None, "a word of its end")
    assert await reader.commit(both) is CommitOutcome.COMMITTED
    assert not reader.consumer.contact().refusals
    assert len(reader.listener.assignments) == 1


@pytest.mark.parametrize(
    ("granted", "lacking"),
    [
        ([], "group"),
        ([("READ", "topic")], "group"),
        ([("READ", "group")], "topic"),
        ([("READ", "group"), ("DESCRIBE", "topic")], "topic"),
    ],
    ids=["all", "of the group", "of the topic", "to read, not to describe"],
)
async def test_a_right_to_read_that_is_missing_is_named(
    bench: Bench, guarded: Guarded, unique: str, granted: list[tuple[str, str]], lacking: str
) -> None:
    topic = await asyncio.to_thread(guarded.cluster.create_topic, unique, 1)
    user = guarded.new_user()
    for operation, kind in granted:
        await grant(guarded, user, operation, **{kind: unique})
    reader = await bench.reader(topic, group=unique, **user.settings)
    expected = f"these credentials lack READ on {lacking} {unique} "
    await reader.until(lambda: expected in reader.consumer.contact().detail, expected)
    assert reader.consumer.contact().problem is Problem.NOT_AUTHORIZED


@pytest.mark.parametrize("granted", [[], ["DESCRIBE"]], ids=["none", "to describe"])
async def test_whoever_may_not_read_an_optional_topic_is_well_and_reads_it_once_he_may(
    bench: Bench, guarded: Guarded, unique: str, granted: list[str]
) -> None:
    open_one, closed = (guarded.cluster.create_topic(f"{unique}-{name}", 1) for name in ("open", "closed"))
    user, witness = guarded.new_user(), Independent(guarded.cluster.witnessed)
    await grant(guarded, user, "READ", topic=open_one)
    await grant(guarded, user, "READ", group=unique)
    if granted:
        await grant(guarded, user, *granted, topic=closed)
    for topic in (open_one, closed):
        await asyncio.to_thread(witness.write, topic, [topic.encode()])
    often = {"metadata_max_age_ms": 500}
    reader = await bench.reader(open_one, group=unique, optional=[closed], tuning=often, **user.settings)
    assert await reader.read(1) == [open_one.encode()]
    assert reader.consumer.contact().problem is None

    await grant(guarded, user, "READ", topic=closed)
    await reader.until(lambda: closed in {record.topic for record in reader.records}, "the other's record")
    assert reader.consumer.contact().problem is None


async def test_the_right_to_write_that_is_missing_is_named(bench: Bench, guarded: Guarded) -> None:
    producer = await bench.producer(**guarded.new_user().settings)
    expected = "these credentials lack WRITE on a topic, or IDEMPOTENT_WRITE on the cluster"
    await eventually(lambda: expected in producer.contact().detail, 10, expected)
    assert producer.contact().problem is Problem.NOT_AUTHORIZED


@pytest.mark.parametrize("granted", [[], ["DESCRIBE"]], ids=["none", "to describe"])
async def test_the_right_to_write_that_one_topic_lacks_is_named_to_whoever_publishes(
    guarded: Guarded, unique: str, granted: list[str]
) -> None:
    """Also where the topic may not even be seen: to make it would not help."""
    user = guarded.new_user()
    await grant(guarded, user, "WRITE", topic=f"{unique}-another")
    await asyncio.to_thread(guarded.cluster.create_topic, unique, 1)
    if granted:
        await grant(guarded, user, *granted, topic=unique)
    async with bus_over(group=unique, **user.settings) as bus:
        with pytest.raises(PublishFailed, match=f"lack WRITE on topic {unique} .*: grant it") as got:
            await bus.publish(unique, b"a", timeout=20)
    assert "certainly not written" in str(got.value)
    assert "KAFKA_CREATE_TOPICS" not in str(got.value)
