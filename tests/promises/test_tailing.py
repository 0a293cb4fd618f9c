"""A tail shows the newest records of a topic and what came after them, and joins no group."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi import ConfigurationError, TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from tests.promises.fleet import Fleet
from tests.promises.test_operations import operations_without_a_bus


async def test_the_newest_of_all_partitions_are_shown_and_then_what_came(fleet: Fleet) -> None:
    topic = await fleet.topic("bets", partitions=2)

    async def write(partition: int, *values: bytes) -> None:
        for value in values:
            await fleet.witness.write(TopicPartition(topic, partition), OutgoingRecord(b"k", value, ()))

    await write(0, b"0", b"1", b"2")
    await write(1, b"3", b"4")
    operations = operations_without_a_bus(fleet)
    first = await operations.tail("bets", limit=3)
    assert [each.value for each in first.records] == [b"2", b"3", b"4"]
    assert first.passed == 0
    none = await operations.tail(topic, after=first.next)
    assert (none.records, none.next) == ((), first.next)

    await write(1, b"5", b"x" * 5000)
    more = await operations.tail("bets", after=first.next)
    assert [each.size for each in more.records] == [1, 5000]
    assert more.records[1].value == b"x" * 4096
    await write(0, b"6", b"7", b"8")
    last = await operations.tail("bets", after=more.next, limit=1)
    assert ([each.value for each in last.records], last.passed) == ([b"8"], 2)


async def test_a_topic_that_is_not_there_and_what_cannot_be_meant_are_refused(fleet: Fleet) -> None:
    operations = operations_without_a_bus(fleet)
    with pytest.raises(TopicUnavailable, match="there is no topic"):
        await operations.tail("nowhere")
    for after in ("", "x", "0:1,", "-1:0"):
        with pytest.raises(ConfigurationError, match="after is the `next`"):
            await operations.tail("bets", after=after)
    for limit in (0, 201, True):
        with pytest.raises(ConfigurationError, match="limit is a whole number from 1 to 200"):
            await operations.tail("bets", limit=limit)
