"""A topic that may be missing is missed without a word, made by nobody, and read once it is there."""

from __future__ import annotations

import logging

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic, Position
from tests.promises.stage import Reset, Stage, numbered, plain

pytestmark = pytest.mark.usefixtures("topics_are_soon_found")


async def test_one_that_is_missing_is_no_trouble_and_is_not_made(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    topic, missing = await stage.topic(partitions=1), stage.new_name()
    member = stage.member(stage.new_name())
    await member.start([topic], optional=[missing])
    await stage.write(topic, 0, plain(b"x"))
    assert await member.having_read(1) == [b"x"]
    # Of a topic that must be there a word comes after two seconds, where it comes at all.
    fetches = len(member.fetched) + (2 if stage.name == "memory" else 15)
    await member.until(lambda: len(member.fetched) >= fetches, "some more fetches")
    contact = member.consumer.contact()
    assert (contact.problem, contact.detail, contact.member) == (None, "", True)
    assert await stage.transport().log_reader().ranges(missing) == {}
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line for line in warnings if missing in line] == []


async def test_with_nothing_but_missing_ones_it_is_a_member_all_the_same(stage: Stage) -> None:
    member = stage.member(stage.new_name())
    await member.start([], optional=[stage.new_name()])
    await member.holding(0)
    await member.until(lambda: member.consumer.contact().member, "its membership")
    assert member.consumer.contact().problem is None


async def test_one_that_is_there_is_read_like_any_other(stage: Stage) -> None:
    topic, optional = await stage.topic(partitions=1), await stage.topic(partitions=2)
    for where in (TopicPartition(topic, 0), TopicPartition(optional, 1)):
        await stage.write(where.topic, where.partition, numbered(3))
    member = stage.member(stage.new_name())
    await member.start([topic], optional=[optional])
    await member.holding(3)
    await member.having_read(6)
    stored = {TopicPartition(optional, 1): Position(3)}
    assert (await member.commit(stored)).value == "committed"


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_one_that_comes_later_is_read_from_its_beginning(stage: Stage, reset: Reset) -> None:
    """Nobody can know of it before it is there, and its first records are not to be skipped."""
    topic, later = await stage.topic(partitions=1), stage.new_name()
    member = stage.member(stage.new_name(), reset)
    await member.start([topic], optional=[later])
    await member.holding(1)
    await stage.transport().admin().ensure_topic(NewTopic(later, 2))
    await stage.write(later, 0, plain(b"first"))
    await member.holding(3)
    await stage.write(later, 1, plain(b"second"))
    assert sorted(value or b"" for value in await member.having_read(2)) == [b"first", b"second"]
    assert member.consumer.contact().problem is None


async def test_where_it_stopped_in_one_it_goes_on(stage: Stage) -> None:
    optional, group = await stage.topic(partitions=1), stage.new_name()
    await stage.write(optional, 0, numbered(5))
    first = stage.member(group)
    await first.start([], optional=[optional])
    await first.having_read(5)
    assert (await first.commit({TopicPartition(optional, 0): Position(3)})).value == "committed"
    await first.stop()
    second = stage.member(group)
    await second.start([], optional=[optional])
    assert await second.having_read(2) == [b"3", b"4"]


async def test_one_that_is_asked_for_both_ways_must_be_there(stage: Stage) -> None:
    stage.needs("missing topics are refused")
    missing = stage.new_name()
    member = stage.member(stage.new_name())
    await member.start([missing], optional=[missing])
    await member.until(lambda: missing in member.consumer.contact().detail, "a word of it")
