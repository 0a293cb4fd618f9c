"""Logs without a group where something is in the way; what reading promises is in `tests/promises`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import pytest
from aiokafka.errors import NoError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import LogRange
from convex_messaging_fastapi.transport.kafka.engine import PartitionReader, TopicAnswer
from convex_messaging_fastapi.transport.kafka.log_reader import KafkaLogReader
from convex_messaging_fastapi.transport.kafka.recovery import Reached
from convex_messaging_fastapi.transport.kafka.tuning import Tuning
from tests.support.wire import Api, WireCluster
from tests.transport.kafka.bench import Bench

ORDERS = TopicPartition("orders", 0)
EVERYTHING = {ORDERS: LogRange(0, 100)}
GROUP_AUTHORIZATION_FAILED = 30
COORDINATOR_LOADING = 14


async def values(reader: KafkaLogReader, ranges: dict[TopicPartition, LogRange]) -> list[bytes | None]:
    return [record.value async for records in reader.read(ranges) for record in records]


@pytest.mark.parametrize(
    "call",
    [
        lambda reader: reader.ranges("orders"),
        lambda reader: values(reader, EVERYTHING),
        lambda reader: reader.committed("billing"),
    ],
    ids=["ranges", "read", "committed"],
)
async def test_no_broker_is_a_reason(
    bench: Bench, wire: WireCluster, call: Callable[[KafkaLogReader], Awaitable[object]]
) -> None:
    wire.down()
    with pytest.raises(TransportError, match=r"cannot be read: .*connection refused"):
        await call(bench.transport().log_reader())


async def test_what_retention_has_removed_is_no_part_of_a_log(bench: Bench, wire: WireCluster) -> None:
    await bench.write(*(b"%d" % n for n in range(9)))
    wire.delete_records("orders", 0, 4)
    reader = bench.transport().log_reader()
    assert (await reader.ranges("orders"))[ORDERS] == LogRange(4, 9)
    assert await values(reader, EVERYTHING) == [b"%d" % n for n in range(4, 9)]


async def test_one_that_is_left_early_closes_its_connections(bench: Bench) -> None:
    await bench.write(*(b"%d" % n for n in range(600)))
    tasks = asyncio.all_tasks()
    async with aclosing(bench.transport().log_reader().read(EVERYTHING)) as reading:
        async for _ in reading:
            break
    assert asyncio.all_tasks() == tasks


async def test_a_coordinator_that_is_only_coming_is_asked_again(bench: Bench, wire: WireCluster) -> None:
    wire.push_errors(Api.OFFSET_FETCH, COORDINATOR_LOADING, COORDINATOR_LOADING)
    assert await bench.transport().log_reader().committed("billing") == {}


async def test_a_right_that_is_missing_is_named(bench: Bench, wire: WireCluster) -> None:
    wire.push_errors(Api.FIND_COORDINATOR, GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(TransportError, match="lack READ on group billing"):
        await bench.transport().log_reader().committed("billing")


class PaperReader:
    """The engine's reader; `script` is what each take answers, or raises."""

    def __init__(self, *script: Sequence[int] | Exception, begins: int = 0, dead: str | None = None) -> None:
        self.script, self.begins, self.dead = list(script), begins, dead
        self.at, self.sought, self.stopped = 0, list[int](), False
        self.answer = TopicAnswer(NoError, 1)
        self.mended = 0

    async def start(self) -> None: ...

    async def stop(self, clock: object, deadline: float) -> None:
        self.stopped = True

    async def ask(self, topic: str) -> TopicAnswer:
        return self.answer

    async def ends(self, wanted: object, *, last: bool) -> dict[TopicPartition, int]:
        return {ORDERS: 9 if last else self.begins}

    def read_from(self, offsets: dict[TopicPartition, int]) -> None:
        self.at = offsets[ORDERS]

    def has_data(self, where: TopicPartition) -> bool:
        return bool(self.script)

    async def take(self, where: TopicPartition, limit: int) -> list[Record]:
        said = self.script.pop(0)
        if isinstance(said, Exception):
            self.begins = getattr(said, "begins", self.begins)
            raise said
        self.at = max(said, default=self.at) + 1
        return [Record("orders", 0, offset, 0, None, b"%d" % offset, ()) for offset in said]

    def position(self, where: TopicPartition) -> int:
        return self.at

    def seek(self, where: TopicPartition, offset: int) -> None:
        self.at = offset
        self.sought.append(offset)

    def mend(self, where: TopicPartition, error: Exception) -> bool:
        self.mended += isinstance(error, UnicodeDecodeError)
        return isinstance(error, UnicodeDecodeError)

    def news(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def no_more_news(self, news: asyncio.Future[None]) -> None:
        news.cancel()

    def failure(self) -> str | None:
        return self.dead


def reading(paper: PaperReader, clock: ManualClock | None = None) -> KafkaLogReader:
    async def reach() -> Reached:
        return Reached({"bootstrap_servers": ["kafka:9092"]})

    def made(reached: Reached) -> PartitionReader:
        return cast("PartitionReader", paper)

    def no_client(reached: Reached) -> Any:
        raise NotImplementedError

    tuning = Tuning(retry_seconds=0)
    return KafkaLogReader(clock or ManualClock(), tuning, 5.0, reach=reach, client=no_client, reader=made)


class _Gone(OffsetOutOfRangeError):  # type: ignore[misc]
    """And the log begins there now."""

    def __init__(self, begins: int) -> None:
        super().__init__()
        self.begins = begins


@pytest.mark.parametrize(
    ("script", "read", "sought"),
    [
        ([[0, 1, 2], [3, 8]], [0, 1, 2, 3, 8], []),
        ([[0], [], [8]], [0, 8], []),  # what stands between holds no record
        ([[0, 1], _Gone(6), [6, 8]], [0, 1, 6, 8], [6]),  # retention has passed us
        ([[0, 1], _Gone(0)], [0, 1], []),  # the log was cut
        ([[0, 1], UnicodeDecodeError("utf-8", b"", 0, 1, "a header"), [2, 8]], [0, 1, 2, 8], [2]),
        ([list(range(12))], list(range(9)), []),  # more is there by now
    ],
    ids=[
        "all",
        "a gap",
        "removed amid reading",
        "cut amid reading",
        "a header to mend",
        "more than asked for",
    ],
)
async def test_a_range_is_read_to_its_end_whatever_its_log_comes_to(
    script: list[Sequence[int] | Exception], read: list[int], sought: list[int]
) -> None:
    paper = PaperReader(*script)
    assert await values(reading(paper), EVERYTHING) == [b"%d" % offset for offset in read]
    assert (paper.sought, paper.stopped) == (sought, True)


async def test_a_batch_that_cannot_be_read_ends_it_and_is_named() -> None:
    paper = PaperReader([0, 1], ValueError("broken"))
    with pytest.raises(TransportError, match="orders/0 at 2: ValueError: broken"):
        await values(reading(paper), EVERYTHING)
    assert paper.stopped


@pytest.mark.parametrize(
    ("dead", "said"),
    [(None, "nothing came in time"), ("the engine's fetching ended", "the engine's fetching ended")],
)
async def test_nobody_waits_for_ever(dead: str | None, said: str) -> None:
    clock, paper = ManualClock(), PaperReader([0, 1], dead=dead)
    reading_all = asyncio.ensure_future(values(reading(paper, clock), EVERYTHING))
    while not reading_all.done():
        await asyncio.sleep(0)
        clock.advance(1)
    with pytest.raises(TransportError, match=f"the log of orders cannot be read: .*{said}"):
        await reading_all
    assert clock.now() >= 5
    assert paper.stopped


async def test_a_topic_that_may_not_be_seen_is_a_reason() -> None:
    paper = PaperReader()
    paper.answer = TopicAnswer(TopicAuthorizationFailedError, 0)
    with pytest.raises(TransportError, match="'orders' cannot be read: these credentials lack READ on topic"):
        await reading(paper).ranges("orders")
    assert paper.stopped
