"""Members share a group's partitions, hand them over without loss, and commit only what they hold."""

from __future__ import annotations

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Position
from tests.promises.stage import STOP_SECONDS, Stage, numbered, plain


async def test_the_next_member_resumes_where_the_group_has_committed(stage: Stage) -> None:
    topic, group = await stage.topic(partitions=1), stage.new_name()
    where = TopicPartition(topic, 0)
    await stage.write(topic, 0, numbered(10))
    first = await stage.join(group, topic)
    await first.having_read(10)
    assert await first.commit({where: Position(4)}) is CommitOutcome.COMMITTED
    await first.stop()
    second = await stage.join(group, topic)
    assert await second.having_read(6) == [b"%d" % n for n in range(4, 10)]
    assert second.held == {where: Position(4)}


async def test_metadata_comes_back_with_the_offset_and_the_end_of_the_log(stage: Stage) -> None:
    topic, group = await stage.topic(partitions=2), stage.new_name()
    stored = {
        TopicPartition(topic, 0): Position(3, "v1:" + "5-7," * 750),
        TopicPartition(topic, 1): Position(1, "é"),
    }
    first = await stage.join(group, topic)
    await first.holding(2)
    await stage.write(topic, 0, numbered(5))
    assert await first.commit(stored) is CommitOutcome.COMMITTED
    await first.stop()
    second = await stage.join(group, topic)
    await second.holding(2)
    ends = {TopicPartition(topic, 0): 5, TopicPartition(topic, 1): 0}
    assert second.held == {where: at._replace(end=ends[where]) for where, at in stored.items()}


async def test_the_last_commit_counts(stage: Stage) -> None:
    topic, group = await stage.topic(partitions=1), stage.new_name()
    where = TopicPartition(topic, 0)
    await stage.write(topic, 0, numbered(5))
    first = await stage.join(group, topic)
    await first.having_read(5)
    for position in (Position(2, "a"), Position(3, "b"), Position(3)):
        assert await first.commit({where: position}) is CommitOutcome.COMMITTED
    await first.stop()
    second = await stage.join(group, topic)
    await second.holding(1)
    assert second.held == {where: Position(3)}


async def test_what_nobody_committed_comes_again(stage: Stage) -> None:
    topic, group = await stage.topic(), stage.new_name()
    for partition in range(4):
        await stage.write(topic, partition, numbered(5, first=partition * 10))
    first = await stage.join(group, topic)
    seen = await first.having_read(20)
    await first.stop()
    second = await stage.join(group, topic)
    assert sorted(await second.having_read(20), key=repr) == sorted(seen, key=repr)


async def test_a_second_member_takes_half_and_nothing_is_lost_or_repeated(stage: Stage) -> None:
    """The first drains inside `revoked`, and its commit there counts."""
    topic, group = await stage.topic(), stage.new_name()
    for partition in range(4):
        await stage.write(topic, partition, numbered(10, first=partition * 100))
    first = await stage.join(group, topic)
    first.on_revoked = first.commit_all
    await first.having_read(40)
    old = first.epoch
    second = await stage.join(group, topic)
    await first.holding(2)
    await second.holding(2)
    for partition in range(4):
        await stage.write(topic, partition, numbered(10, first=partition * 100 + 10))
    await stage.news.until(lambda: len(first.records) + len(second.records) >= 80, "80 records")
    assert first.told == [("assigned", old), ("revoked", old), ("committed", old), ("assigned", first.epoch)]
    assert not first.held.keys() & second.held.keys()
    seen = [record.value for record in first.records + second.records]
    assert sorted(seen, key=repr) == sorted(
        (b"%d" % (p * 100 + n) for p in range(4) for n in range(20)), key=repr
    )


async def test_a_rebalance_waits_for_the_drain_of_a_member(stage: Stage) -> None:
    """Nobody reads a partition while its last owner still works on it, within the deadline it was given."""
    topic, group = await stage.topic(), stage.new_name()
    first = await stage.join(group, topic)
    await first.holding(4)
    second = stage.member(group)
    left: list[float] = []

    async def drain(epoch: int, deadline: float) -> None:
        left.append(deadline - stage.clock.now())
        fetches = len(second.fetched)
        await second.until(lambda: len(second.fetched) >= fetches + 3, "a few fetches of the second")
        assert second.told == []
        where = TopicPartition(topic, 0)
        outcomes = await first.consumer.commit(epoch, {where: Position(1)}, deadline)
        assert outcomes == {where: CommitOutcome.COMMITTED}

    first.on_revoked = drain
    await second.start([topic])
    await first.holding(2)
    await second.holding(2)
    assert len(left) == 1
    assert 0 < left[0] <= 3.0
    assert (first.held | second.held)[TopicPartition(topic, 0)] == Position(1)


async def test_a_member_that_leaves_gives_its_partitions_to_the_others(stage: Stage) -> None:
    topic, group = await stage.topic(), stage.new_name()
    first, second = await stage.join(group, topic), await stage.join(group, topic)
    await first.holding(2)
    await second.holding(2)
    await second.stop()
    await first.holding(4)
    await stage.write(topic, 3, plain(b"still read"))
    assert await first.having_read(1) == [b"still read"]


async def test_a_member_without_partitions_is_told_so(stage: Stage) -> None:
    topic, group = await stage.topic(partitions=1), stage.new_name()
    first, second = await stage.join(group, topic), await stage.join(group, topic)
    await stage.news.until(
        lambda: (
            sorted([len(first.held), len(second.held)]) == [0, 1]
            and first.told[-1:] == [("assigned", first.epoch)]
            and second.told[-1:] == [("assigned", second.epoch)]
        ),
        "one with a partition and one without",
    )
    assert first.consumer.contact().member
    assert second.consumer.contact().member


async def test_a_commit_of_an_epoch_that_is_over_is_stale(stage: Stage) -> None:
    topic, group = await stage.topic(), stage.new_name()
    first = await stage.join(group, topic)
    await first.holding(4)
    old, late = first.epoch, dict.fromkeys(first.held, Position(9))
    second = await stage.join(group, topic)
    await first.holding(2)
    await second.holding(2)
    assert first.epoch > old
    assert await first.commit(late, epoch=old) is CommitOutcome.STALE
    still_held = dict.fromkeys(first.held, Position(9))
    assert await first.commit(still_held, epoch=old) is CommitOutcome.STALE
    assert await first.commit(dict.fromkeys(first.held, Position(1))) is CommitOutcome.COMMITTED
    await first.stop()
    await second.holding(4)
    assert {position.offset for position in second.held.values()} == {0, 1}


async def test_a_commit_after_the_stop_is_stale(stage: Stage) -> None:
    topic, group = await stage.topic(), stage.new_name()
    member = await stage.join(group, topic)
    await member.holding(4)
    held = member.held
    await member.stop()
    assert await member.commit(dict.fromkeys(held, Position(1))) is CommitOutcome.STALE


async def test_a_commit_before_the_first_assignment_is_stale(stage: Stage) -> None:
    member = stage.member(stage.new_name())
    assert await member.commit({TopicPartition("anything", 0): Position(1)}) is CommitOutcome.STALE


async def test_every_group_gets_its_own_copy(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(topic, 0, numbered(3))
    one, two = await stage.join(stage.new_name(), topic), await stage.join(stage.new_name(), topic)
    assert await one.having_read(3) == await two.having_read(3) == [b"0", b"1", b"2"]
    assert await one.commit({TopicPartition(topic, 0): Position(3)}) is CommitOutcome.COMMITTED
    assert two.held == {TopicPartition(topic, 0): Position(0)}


async def test_a_new_group_begins_with_the_earliest_record(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(topic, 0, numbered(3))
    member = await stage.join(stage.new_name(), topic, reset="earliest")
    assert await member.having_read(3) == [b"0", b"1", b"2"]


async def test_a_new_group_may_begin_with_what_comes_after_it_joined(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(topic, 0, numbered(3))
    member = await stage.join(stage.new_name(), topic, reset="latest")
    await member.holding(1)
    assert member.held == {TopicPartition(topic, 0): Position(3)}
    await stage.write(topic, 0, numbered(2, first=3))
    assert await member.having_read(2) == [b"3", b"4"]


async def test_a_committed_offset_beats_latest(stage: Stage) -> None:
    topic, group = await stage.topic(partitions=1), stage.new_name()
    first = await stage.join(group, topic, reset="latest")
    await first.holding(1)
    assert await first.commit({TopicPartition(topic, 0): Position(0)}) is CommitOutcome.COMMITTED
    await first.stop()
    await stage.write(topic, 0, numbered(3))
    second = await stage.join(group, topic, reset="latest")
    assert await second.having_read(3) == [b"0", b"1", b"2"]


async def test_a_stop_is_bounded_and_the_listener_is_not_called(stage: Stage) -> None:
    topic, group = await stage.topic(), stage.new_name()
    member = await stage.join(group, topic)
    await member.holding(4)
    told = list(member.told)
    before = stage.clock.now()
    await member.stop()
    assert stage.clock.now() - before < STOP_SECONDS
    assert member.told == told
    assert not member.consumer.contact().member


async def test_contact_tells_of_membership_and_a_recent_answer(stage: Stage) -> None:
    member = await stage.join(stage.new_name(), await stage.topic())
    await member.holding(4)
    contact = member.consumer.contact()
    assert contact.member
    assert contact.problem is None
    assert contact.last is not None
    assert stage.clock.now() - contact.last < 10
