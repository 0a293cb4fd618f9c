"""A fetch brings what was wanted and no more, from every partition its share, and keeps the member alive."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.records import TopicPartition
from tests.promises.stage import SECONDS, Stage, numbered, plain


async def test_with_nothing_wanted_nothing_comes_and_the_membership_lasts(stage: Stage) -> None:
    topic, group = await stage.topic(), stage.new_name()
    for partition in range(4):
        await stage.write(topic, partition, plain(b"x"))
    member = stage.member(group)
    member.wants = dict
    await member.start([topic])
    await member.holding(4)
    seen = len(member.fetched)
    await member.until(lambda: len(member.fetched) >= seen + 5, "five fetches")
    assert member.records == []
    assert member.consumer.contact().member
    other = await stage.join(group, topic)
    await member.holding(2)
    await other.holding(2)
    assert await other.having_read(2) == [b"x", b"x"]


async def test_a_fetch_tells_where_the_logs_ended_that_its_records_came_from(stage: Stage) -> None:
    topic = await stage.topic(partitions=2)
    where = TopicPartition(topic, 0)
    await stage.write(topic, 0, numbered(30))
    member = stage.member(stage.new_name())
    member.wants = lambda: dict.fromkeys(member.held, 10)
    await member.start([topic])
    await member.having_read(30)
    await stage.write(topic, 0, numbered(1))
    await member.having_read(31)
    brought = [fetched for fetched in member.fetched if fetched.records]
    assert all(fetched.ends.keys() == fetched.records.keys() for fetched in brought)
    assert all(fetched.records[where][-1].offset < fetched.ends[where] for fetched in brought)
    assert [fetched.ends[where] for fetched in brought] == [30, 30, 30, 31]


async def test_a_partition_not_wanted_waits_and_loses_nothing(stage: Stage) -> None:
    topic = await stage.topic(partitions=2)
    quiet, wanted = TopicPartition(topic, 0), TopicPartition(topic, 1)
    for where in (quiet, wanted):
        await stage.write(topic, where.partition, numbered(5))
    member = stage.member(stage.new_name())
    member.wants = lambda: {where: 100 for where in member.held if where == wanted}
    await member.start([topic])
    await member.having_read(5)
    assert {record.partition for record in member.records} == {1}
    member.wants = lambda: dict.fromkeys(member.held, 100)
    await member.having_read(10)
    assert [record.offset for record in member.records if record.partition == 0] == list(range(5))


async def test_a_partition_wanted_zero_times_is_not_wanted(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(topic, 0, plain(b"x"))
    member = stage.member(stage.new_name())
    member.wants = lambda: dict.fromkeys(member.held, 0)
    await member.start([topic])
    await member.holding(1)
    seen = len(member.fetched)
    await member.until(lambda: len(member.fetched) >= seen + 3, "three fetches")
    assert member.records == []


async def test_no_partition_gets_more_than_its_share_and_none_starves(stage: Stage) -> None:
    topic = await stage.topic()
    for partition, count in enumerate([2000, 50, 50, 2000]):
        await stage.write(topic, partition, numbered(count))
    member = stage.member(stage.new_name())
    await member.start([topic])
    member.wants = dict
    await member.holding(4)
    shares = {where: 10 + where.partition for where in member.held}
    member.wants = lambda: shares
    await member.having_read(4100)
    for fetched in member.fetched:
        assert all(len(records) <= shares[where] for where, records in fetched.records.items())

    def read_to_its_end_by(partition: int) -> int:
        return max(
            n
            for n, fetched in enumerate(member.fetched)
            if TopicPartition(topic, partition) in fetched.records
        )

    small, large = map(read_to_its_end_by, (1, 2)), map(read_to_its_end_by, (0, 3))
    assert max(small) < min(large)


async def test_a_fetch_returns_as_soon_as_there_is_a_record(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    where = TopicPartition(topic, 0)
    member = await stage.join(stage.new_name(), topic)
    await member.holding(1)
    seen = len(member.fetched)
    await member.until(lambda: len(member.fetched) >= seen + 2, "a fetch that found nothing")
    await member.pause()
    fetching = asyncio.ensure_future(member.consumer.fetch({where: 10}, 10 * SECONDS))
    await stage.write(topic, 0, plain(b"x"))
    async with asyncio.timeout(SECONDS):
        fetched = await fetching
    assert [record.value for record in fetched.records[where]] == [b"x"]
    assert fetched.positions == {where: 1}
    assert fetched.epoch == member.epoch


async def test_a_fetch_that_finds_nothing_returns_after_its_wait(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    member = await stage.join(stage.new_name(), topic)
    await member.holding(1)
    await member.pause()
    before = stage.clock.now()
    fetched = await member.consumer.fetch(dict.fromkeys(member.held, 10), 0.3)
    assert 0.3 <= stage.clock.now() - before < 5
    assert (fetched.epoch, fetched.records) == (member.epoch, {})


async def test_fetching_and_committing_go_side_by_side(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    where = TopicPartition(topic, 0)
    member = await stage.join(stage.new_name(), topic)
    await member.holding(1)
    committed = 0
    for round in range(1, 6):
        await stage.write(topic, 0, numbered(20))
        await member.having_read(20 * round)
        outcome = await member.commit({where: member.next_position(where)})
        committed += outcome.value == "committed"
    assert committed == 5


async def test_a_member_tells_where_logs_end_also_of_topics_that_it_does_not_read(stage: Stage) -> None:
    topic, other, missing = await stage.topic(partitions=1), await stage.topic(partitions=2), stage.new_name()
    await stage.write(topic, 0, numbered(3))
    await stage.write(other, 1, numbered(5))
    member = await stage.join(stage.new_name(), topic)
    await member.having_read(3)
    wanted = [TopicPartition(topic, 0), TopicPartition(other, 0), TopicPartition(other, 1)]
    gone = [TopicPartition(missing, 0), TopicPartition(topic, 7)]

    ends = await member.consumer.ends([*wanted, *gone])

    assert ends == dict(zip(wanted, (3, 0, 5), strict=True))
    assert await stage.transport().log_reader().ranges(missing) == {}
    await stage.write(other, 0, numbered(2))
    assert await member.consumer.ends(wanted[1:2]) == {wanted[1]: 2}
