"""Topics that may be missing, on the wire bench; what is promised of them is in `tests/promises`."""

from __future__ import annotations

import logging

import pytest

from convex_messaging_fastapi.records import TopicPartition
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench, Listener, Reader

SOON = {"optional_seconds": 0.1}
TOPIC_AUTHORIZATION_FAILED = 29


async def reader_of(bench: Bench, *topics: str, optional: str, group: str = "readers") -> Reader:
    consumer = bench.transport(tuning=SOON).consumer(group)
    bench.made(consumer)
    listener = Listener()
    await consumer.start(topics, listener, [optional])
    return Reader(consumer, listener)


def warnings_of(topic: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [line for line in said if topic in line]


async def test_a_missing_one_is_looked_for_and_read_once_it_is_there(
    bench: Bench, wire: WireCluster, caplog: pytest.LogCaptureFixture
) -> None:
    reader = await reader_of(bench, "orders", optional="later")
    await reader.until(lambda: len(reader.listener.held) == 2, "the topic that is there")
    member = reader.consumer._supervisor.current
    assert member is not None
    assert member.missing(["later"]) == ["later"]
    assert not member.needs_metadata(), "it is not asked for at every look"
    assert (reader.consumer.contact().problem, reader.consumer.contact().detail) == (None, "")
    assert warnings_of("later", caplog) == []

    wire.topic("later", partitions=1)
    await bench.write(b"a", topic="later")
    await reader.until(lambda: TopicPartition("later", 0) in reader.listener.held, "the one that came")
    assert await reader.read(1) == [b"a"]


async def test_one_that_may_not_be_read_is_told_once_and_is_no_trouble(
    bench: Bench, wire: WireCluster, caplog: pytest.LogCaptureFixture
) -> None:
    wire.topic("private", partitions=1)
    wire.push_errors(Api.FETCH, *[TOPIC_AUTHORIZATION_FAILED] * 4)
    await bench.write(b"a", topic="private")
    reader = await reader_of(bench, optional="private")
    problems = set()

    def goes_on() -> bool:
        problems.add(reader.consumer.contact().problem)
        return bool(reader.records)

    await reader.until(goes_on, "the first record after the refusals")
    assert reader.consumer.contact().problem is None
    assert all(problem is None or problem.value == "connecting" for problem in problems)
    assert len(warnings_of("private", caplog)) == 1
