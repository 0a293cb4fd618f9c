"""Another user of aiokafka in the same process has it as if we were not there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.conn import AIOKafkaConnection

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position, Verdict
from convex_messaging_fastapi.transport.kafka.engine.codes import (
    FencedInstanceId,
    GroupMaxSizeReached,
    InvalidRecord,
    for_code,
)
from convex_messaging_fastapi.transport.kafka.engine.log_filter import EngineLogFilter, calm_engine_logs
from convex_messaging_fastapi.transport.kafka.engine.ours import at_work, ours, theirs
from convex_messaging_fastapi.transport.kafka.engine.patches import patch_engine
from tests.support.waiting import eventually
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench, Listener, records

OF_OURS = (GroupMaxSizeReached, FencedInstanceId, InvalidRecord)
INVALID_RECORD = 87


class Kept(logging.Handler):
    """Every line that came through, and whether a client of ours wrote it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[bool, logging.LogRecord]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((at_work() is not None, record))

    def of(self, *, ours: bool) -> list[str]:
        return [line.getMessage() for is_ours, line in self.lines if is_ours is ours]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """As in a process that has just begun: tests before this one may have made the engine say much."""
    kept, engine = Kept(), logging.getLogger("aiokafka")
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        for filter in [each for each in logger.filters if isinstance(each, EngineLogFilter)]:
            logger.removeFilter(filter)
    calm_engine_logs(SystemClock())
    level = engine.level
    engine.addHandler(kept)
    engine.setLevel(logging.DEBUG)
    yield kept
    engine.removeHandler(kept)
    engine.setLevel(level)


@asynccontextmanager
async def another_producer(wire: WireCluster) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=wire.bootstrap_servers) as producer:
        yield producer


# Its log.


def test_its_lines_are_neither_held_back_nor_changed(kept: Kept) -> None:
    log = logging.getLogger("aiokafka.consumer.group_coordinator")
    assert [each for each in log.filters if isinstance(each, EngineLogFilter)], "ours are"
    for number in range(10):
        log.info("Metadata for %(topic)s", {"topic": number})
        log.warning("Heartbeat failed for group %s because it is rebalancing", "theirs")
        log.error("Topic %s not found in cluster metadata", b"theirs")
    assert kept.of(ours=False)[:3] == [
        "Metadata for 0",
        "Heartbeat failed for group theirs because it is rebalancing",
        "Topic b'theirs' not found in cluster metadata",
    ]
    assert [line.levelname for _, line in kept.lines] == ["INFO", "WARNING", "ERROR"] * 10


async def test_every_line_about_a_client_of_ours_is_known_for_one(
    bench: Bench, wire: WireCluster, kept: Kept
) -> None:
    """Whatever its task: from the start, by an outage, to the end."""
    producer = await bench.producer()
    where = TopicPartition("orders", 0)
    assert (await producer.send(where, records(b"a"))).verdict is Verdict.WRITTEN
    reader = await bench.reader()
    await reader.read(1)
    await reader.commit({where: 1})
    wire.down()
    await eventually(lambda: any("Unable" in line for line in kept.of(ours=True)), 20, "an outage")
    wire.up()
    while (await producer.send(where, records(b"b"))).verdict is not Verdict.WRITTEN:
        pass
    await reader.read(2)
    await bench.close()
    assert kept.of(ours=True)
    assert kept.of(ours=False) == []


async def test_of_an_outage_it_writes_as_much_as_ever(bench: Bench, wire: WireCluster, kept: Kept) -> None:
    def unable(*, ours: bool) -> int:
        return sum(line.startswith("Unable to update metadata") for line in kept.of(ours=ours))

    await bench.reader()
    another = AIOKafkaConsumer("orders", bootstrap_servers=wire.bootstrap_servers, metadata_max_age_ms=50)
    await another.start()
    try:
        wire.down()
        await eventually(lambda: unable(ours=False) >= 5, 20, "lines of another client")
        wire.up()
    finally:
        with suppress(asyncio.CancelledError):  # aiokafka's own, of a fetch that backs off when it is stopped
            await another.stop()
    assert unable(ours=True) <= 1


async def test_every_line_about_another_client_is_known_for_one(wire: WireCluster, kept: Kept) -> None:
    async with another_producer(wire) as producer:
        await producer.send_and_wait("orders", b"a")
    assert [line for line in kept.of(ours=False) if line.startswith("Sending (key=None value=b'a') to ")]
    assert kept.of(ours=True) == []


# Its errors.


def test_its_table_of_errors_has_no_class_of_ours() -> None:
    for error in OF_OURS:
        assert error.errno not in errors.kafka_errors
        assert errors.for_code(error.errno) is errors.UnknownError
        assert for_code(error.errno) is error
        with ours(anywhere=False):
            assert errors.for_code(error.errno) is error
            with theirs():
                assert errors.for_code(error.errno) is errors.UnknownError
    assert errors.for_code(0) is for_code(0) is errors.NoError


async def test_what_it_publishes_fails_as_without_us(bench: Bench, wire: WireCluster) -> None:
    ours_ = await bench.producer()
    async with another_producer(wire) as producer:
        await producer.send_and_wait("orders", b"a", partition=0)
        wire.push_errors(Api.PRODUCE, INVALID_RECORD)
        with pytest.raises(errors.UnknownError) as caught:
            await producer.send_and_wait("orders", b"b", partition=0)
    assert type(caught.value) is errors.UnknownError
    wire.push_errors(Api.PRODUCE, INVALID_RECORD)
    sent = await ours_.send(TopicPartition("orders", 0), records(b"c"))
    assert (sent.verdict, sent.reason) == (Verdict.REFUSED, InvalidRecord.description)


# Its connections.


async def test_its_connections_are_the_engines_own(bench: Bench, wire: WireCluster) -> None:
    await bench.producer()
    async with another_producer(wire) as producer:
        await producer.send_and_wait("orders", b"a", partition=0)  # until it is needed it has none
        assert {type(each) for each in producer.client._conns.values()} == {AIOKafkaConnection}


# What the user does in between is the user's.


async def test_what_the_engine_tells_us_is_not_heard_as_its_work(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    assigned = Listener.assigned

    def watched(listener: Listener, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        seen.append(at_work() is not None)
        assigned(listener, epoch, positions)

    async def revoked(epoch: int, deadline: float) -> None:
        seen.append(at_work() is not None)

    monkeypatch.setattr(Listener, "assigned", watched)
    await bench.write(b"a")
    first = await bench.reader()
    first.listener.on_revoked = revoked
    assert await first.read(1) == [b"a"]
    await bench.reader()
    await first.until(lambda: first.listener.revocations, "a revocation")
    assert len(seen) >= 2
    assert not any(seen)
    assert at_work() is None


async def test_tasks_that_begin_in_work_for_us_are_ours_and_others_are_not() -> None:
    async def begun() -> bool:
        return at_work() is not None

    with ours(anywhere=False):
        of_ours = asyncio.ensure_future(begun())
        with theirs():
            of_theirs = asyncio.ensure_future(begun())
    assert (await of_ours, await of_theirs, await begun()) == (True, False, False)


def test_work_that_is_closed_elsewhere_leaves_that_place_as_it_was() -> None:
    async def forgotten() -> None:
        with ours(anywhere=False):
            await asyncio.sleep(0)

    working = forgotten()
    copy_context().run(working.send, None)
    working.close()
    assert at_work() is None


def test_it_is_done_once_in_a_process() -> None:
    before = errors.for_code
    patch_engine(SystemClock())
    assert errors.for_code is before
