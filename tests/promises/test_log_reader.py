"""Logs are read without a group: a range in offset order, to its end, and nobody notices."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, LogRange, LogReader, Position
from tests.promises.stage import SECONDS, Stage, numbered, plain

COUNT = 3 * ENOUGH_RECORDS


async def read(reader: LogReader, *ranges: tuple[TopicPartition, LogRange]) -> list[Record]:
    async with asyncio.timeout(SECONDS):
        return [record async for records in reader.read(dict(ranges)) for record in records]


async def test_a_topic_is_read_from_begin_to_end_each_partition_in_its_order(stage: Stage) -> None:
    topic = await stage.topic(partitions=3)
    for partition, count in enumerate((COUNT, 0, 7)):
        await stage.write(topic, partition, numbered(count))
    reader = stage.transport().log_reader()
    ranges = await reader.ranges(topic)
    assert ranges == {
        TopicPartition(topic, 0): LogRange(0, COUNT),
        TopicPartition(topic, 1): LogRange(0, 0),
        TopicPartition(topic, 2): LogRange(0, 7),
    }
    found: dict[int, list[bytes | None]] = {}
    async with asyncio.timeout(SECONDS):
        async for records in reader.read(ranges):
            assert 0 < len(records) <= ENOUGH_RECORDS
            assert len({record.partition for record in records}) == 1
            found.setdefault(records[0].partition, []).extend(record.value for record in records)
    assert found == {0: [b"%d" % n for n in range(COUNT)], 2: [b"%d" % n for n in range(7)]}


@pytest.mark.parametrize(
    ("first", "end", "offsets"),
    [(0, 3, range(3)), (4, 7, range(4, 7)), (9, 10, range(9, 10)), (3, 3, range(0)), (8, 99, range(8, 10))],
)
async def test_no_more_is_read_than_the_range_and_what_lies_beyond_the_log_is_not_waited_for(
    stage: Stage, first: int, end: int, offsets: range
) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(topic, 0, numbered(10))
    found = await read(stage.transport().log_reader(), (TopicPartition(topic, 0), LogRange(first, end)))
    assert [record.offset for record in found] == list(offsets)


async def test_whoever_wants_few_records_gets_them_however_large_they_are(stage: Stage) -> None:
    topic = await stage.topic(partitions=2)
    for partition in range(2):
        await stage.write(topic, partition, plain(*(bytes([n]) * 100_000 for n in range(3))))
    wanted = [(TopicPartition(topic, partition), LogRange(1, 2)) for partition in range(2)]
    found = await read(stage.transport().log_reader(few=True), *wanted)
    assert sorted(record.partition for record in found) == [0, 1]
    assert {record.value for record in found} == {bytes([1]) * 100_000}


async def test_what_is_written_while_it_is_read_is_not_part_of_the_range(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(topic, 0, numbered(COUNT))
    reader = stage.transport().log_reader()
    ranges = await reader.ranges(topic)
    seen = 0
    async with asyncio.timeout(SECONDS):
        async for records in reader.read(ranges):
            if not seen:
                await stage.write(topic, 0, numbered(5))
            seen += len(records)
    assert seen == COUNT


async def test_it_can_be_left_early_and_others_read_beside_it(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(topic, 0, numbered(COUNT))
    reader = stage.transport().log_reader()
    ranges = await reader.ranges(topic)
    async with asyncio.timeout(SECONDS), aclosing(reader.read(ranges)) as reading:
        async for _ in reading:
            assert len(await read(reader, *ranges.items())) == COUNT
            break


async def test_keys_values_headers_and_times_are_as_a_member_gets_them(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(
        topic, 0, [record._replace(key=b"k", headers=(("a", b"1"), ("a", None))) for record in plain(b"x")]
    )
    member = await stage.join(stage.new_name(), topic)
    await member.having_read(1)
    reader = stage.transport().log_reader()
    assert await read(reader, *(await reader.ranges(topic)).items()) == member.records


async def test_a_topic_that_is_missing_holds_nothing_and_is_not_made_by_the_question(stage: Stage) -> None:
    topic, reader = stage.new_name(), stage.transport().log_reader()
    for _ in range(2):
        assert await reader.ranges(topic) == {}
        assert await read(reader, (TopicPartition(topic, 0), LogRange(0, 9))) == []


async def test_what_a_group_has_committed_is_told_to_whoever_asks(stage: Stage) -> None:
    topic, other, group = await stage.topic(partitions=2), await stage.topic(partitions=1), stage.new_name()
    reader = stage.transport().log_reader()
    assert await reader.committed(group) == {}
    for where in (TopicPartition(topic, 0), TopicPartition(other, 0)):
        await stage.write(where.topic, 0, numbered(9))
    member = await stage.join(group, topic, other)
    await member.having_read(18)
    stored = {
        TopicPartition(topic, 0): Position(4, "and what is finished above"),
        TopicPartition(other, 0): Position(9),
    }
    assert (await member.commit(stored)).value == "committed"
    assert await reader.committed(group) == stored
    assert await reader.committed(stage.new_name()) == {}


async def test_reading_joins_no_group_and_moves_nobody(stage: Stage) -> None:
    topic, group = await stage.topic(partitions=1), stage.new_name()
    await stage.write(topic, 0, numbered(5))
    member = await stage.join(group, topic)
    await member.having_read(5)
    reader = stage.transport().log_reader()
    assert len(await read(reader, *(await reader.ranges(topic)).items())) == 5
    await stage.write(topic, 0, numbered(1))
    await member.having_read(6)
    assert [what for what, _ in member.told] == ["assigned"]
