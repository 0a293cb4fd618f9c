"""Topics that may be missing, forbidden or deleted; what is promised of them is in `tests/promises`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from convex_messaging_fastapi.records import TopicPartition
from tests.support.independent import Independent
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench, Reader
from tools.kafka.cluster import Cluster

SOON = {"metadata_max_age_ms": 100}
TOPIC_AUTHORIZATION_FAILED = 29


@pytest.fixture
async def real(kafka: Cluster) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, real=True)
    yield bench
    await bench.close()


def values(reader: Reader) -> list[bytes | None]:
    """Each rebalance brings what was not committed once more."""
    return [record.value for record in reader.records]


def warnings_of(topic: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [line for line in said if topic in line]


async def test_one_that_is_deleted_is_no_trouble_and_when_it_comes_back_it_is_read_from_its_beginning(
    real: Bench, kafka: Cluster, unique: str, independent: Independent, caplog: pytest.LogCaptureFixture
) -> None:
    lasting, replayed = (kafka.create_topic(f"{unique}-{name}", 1) for name in ("lasting", "replayed"))
    reader = await real.reader(lasting, group=unique, optional=[replayed], tuning=SOON)
    await reader.until(lambda: len(reader.listener.held) == 2, "both")
    await asyncio.to_thread(independent.write, replayed, [b"a"])
    assert await reader.read(1) == [b"a"]
    await asyncio.to_thread(kafka.delete_topic, replayed)
    await reader.until(lambda: len(reader.listener.held) == 1, "the loss of one", 30)
    caplog.clear()
    await asyncio.to_thread(independent.write, lasting, [b"b"])
    await reader.until(lambda: b"b" in values(reader), "what is written to the other")
    assert reader.consumer.contact().problem is None
    assert warnings_of(replayed, caplog) == []

    await asyncio.to_thread(kafka.create_topic, replayed, 1)
    await asyncio.to_thread(independent.write, replayed, [b"c"])
    await reader.until(lambda: b"c" in values(reader), "what is written to it now", 30)


async def test_a_missing_one_is_looked_for_and_read_once_it_is_there(
    bench: Bench, wire: WireCluster, caplog: pytest.LogCaptureFixture
) -> None:
    reader = await bench.reader("orders", optional=["later"], tuning=SOON)
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
    reader = await bench.reader(optional=["private"], tuning=SOON)
    problems = set()

    def goes_on() -> bool:
        problems.add(reader.consumer.contact().problem)
        return bool(reader.records)

    await reader.until(goes_on, "the first record after the refusals")
    assert reader.consumer.contact().problem is None
    assert all(problem is None or problem.value == "connecting" for problem in problems)
    assert len(warnings_of("private", caplog)) == 1
