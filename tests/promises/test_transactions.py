"""Several records, in any topics, are all there or none; and of a transactional id there is one owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted, TransactionalProducer
from tests.promises.stage import SECONDS, STOP_SECONDS, Stage, numbered, plain
from tests.promises.test_log_reader import read

pytestmark = pytest.mark.usefixtures("topics_are_soon_found")

Call = Callable[[TransactionalProducer, TopicPartition], Awaitable[object]]

TRANSACTION_SECONDS = 2.0


async def there(stage: Stage, topic: str) -> list[Record]:
    """What whoever reads committed finds in a topic now."""
    reader = stage.transport().log_reader()
    return await read(reader, *(await reader.ranges(topic)).items())


async def values(stage: Stage, topic: str) -> list[bytes | None]:
    return [record.value for record in await there(stage, topic)]


async def fenced(doing: Awaitable[object]) -> bool:
    with pytest.raises(NotCommitted) as failed:
        await doing
    return failed.value.fate is Fate.FENCED


async def test_what_is_written_is_there_once_it_is_committed_at_the_offsets_that_were_told(
    stage: Stage,
) -> None:
    copies, states = await stage.topic(partitions=2), await stage.topic(partitions=1)
    await stage.write(copies, 0, numbered(3))
    owner = await stage.owner(stage.new_name())
    told = await owner.write(
        {TopicPartition(copies, 0): plain(b"a", b"b"), TopicPartition(copies, 1): plain(b"c")}
    )
    later = await owner.write({TopicPartition(states, 0): plain(b"of a, b, c")})
    assert (await values(stage, states), len(await there(stage, copies))) == ([], 3)
    await owner.commit()
    found = {(record.partition, record.value): record.offset for record in await there(stage, copies)}
    assert [found[0, b"a"], found[0, b"b"]] == list(told[TopicPartition(copies, 0)])
    assert [found[1, b"c"]] == list(told[TopicPartition(copies, 1)])
    assert [record.offset for record in await there(stage, states)] == list(later[TopicPartition(states, 0)])


async def test_one_after_another_and_what_was_aborted_never_was(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    where = TopicPartition(topic, 0)
    owner = await stage.owner(stage.new_name())
    for number in range(5):
        await owner.write({where: plain(b"%d" % number)})
        await (owner.abort() if number % 2 else owner.commit())
    assert await values(stage, topic) == [b"0", b"2", b"4"]
    await owner.commit()  # nothing is open
    await owner.abort()
    member = await stage.join(stage.new_name(), topic)
    assert await member.having_read(3) == [b"0", b"2", b"4"]


async def test_more_than_a_batch_is_written_in_order(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    where, large = TopicPartition(topic, 0), bytes(100_000)
    sent = [record._replace(value=b"%d " % n + large) for n, record in enumerate(numbered(30))]
    owner = await stage.owner(stage.new_name())
    told = await owner.write({where: sent})
    await owner.commit()
    found = await there(stage, topic)
    assert [record.value for record in found] == [record.value for record in sent]
    assert [record.offset for record in found] == list(told[where])


async def test_behind_an_open_transaction_others_wait_until_it_ends(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    owner = await stage.owner(stage.new_name())
    await owner.write({TopicPartition(topic, 0): plain(b"first")})
    await stage.write(topic, 0, plain(b"of another"))
    member = await stage.join(stage.new_name(), topic)
    await member.holding(1)
    assert await values(stage, topic) == []
    await owner.commit()
    assert await member.having_read(2) == [b"first", b"of another"]


async def test_a_new_owner_aborts_what_was_open_and_fences_the_old_one(stage: Stage) -> None:
    topic, id = await stage.topic(partitions=1), stage.new_name()
    where = TopicPartition(topic, 0)
    old = await stage.owner(id)
    await old.write({where: plain(b"of the old")})
    new = await stage.owner(id)
    assert await values(stage, topic) == []
    await new.write({where: plain(b"of the new")})
    await new.commit()
    assert await values(stage, topic) == [b"of the new"]
    assert await fenced(old.commit())
    assert await values(stage, topic) == [b"of the new"]


async def test_an_owner_of_another_id_is_left_alone(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    owner = await stage.owner(stage.new_name())
    await owner.write({TopicPartition(topic, 0): plain(b"one")})
    other = await stage.owner(stage.new_name())
    await other.write({TopicPartition(topic, 0): plain(b"two")})
    await owner.commit()
    await other.commit()
    assert await values(stage, topic) == [b"one", b"two"]


CALLS: dict[str, Call] = {
    "writes": lambda owner, where: owner.write({where: plain(b"late")}),
    "commits": lambda owner, where: owner.commit(),
    "aborts": lambda owner, where: owner.abort(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_an_owner_that_was_fenced_learns_it_and_is_of_no_more_use(stage: Stage, call: Call) -> None:
    topic, id = await stage.topic(partitions=1), stage.new_name()
    where = TopicPartition(topic, 0)
    old = await stage.owner(id)
    await old.write({where: plain(b"of the old")})
    await stage.owner(id)
    assert await fenced(call(old, where))
    with pytest.raises(NotCommitted, match="must be claimed"):
        await old.write({where: plain(b"once more")})
    await old.stop(stage.clock.now() + STOP_SECONDS)
    assert await values(stage, topic) == []


async def test_one_that_stays_open_past_its_timeout_is_aborted(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    where = TopicPartition(topic, 0)
    owner = await stage.owner(stage.new_name(), TRANSACTION_SECONDS)
    await owner.write({where: plain(b"left open")})
    await stage.write(topic, 0, plain(b"behind it"))
    member = await stage.join(stage.new_name(), topic)
    assert await member.having_read(1) == [b"behind it"]
    assert await fenced(owner.commit())
    assert await values(stage, topic) == [b"behind it"]


async def test_stopping_aborts_what_is_open_at_once(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    owner = await stage.owner(stage.new_name(), timeout_seconds=60)
    await owner.write({TopicPartition(topic, 0): plain(b"left open")})
    await stage.write(topic, 0, plain(b"behind it"))
    await owner.stop(stage.clock.now() + STOP_SECONDS)
    member = await stage.join(stage.new_name(), topic)
    assert await member.having_read(1) == [b"behind it"]
    with pytest.raises(NotCommitted):
        await owner.write({TopicPartition(topic, 0): plain(b"x")})


async def test_one_that_is_too_large_is_told_from_other_failures_and_leaves_nothing(stage: Stage) -> None:
    topic, other = await stage.topic(1, {"max.message.bytes": "2000"}), await stage.topic(partitions=1)
    id = stage.new_name()
    owner = await stage.owner(id)
    await owner.write({TopicPartition(other, 0): plain(b"beside it")})
    with pytest.raises(NotCommitted) as failed:
        await owner.write({TopicPartition(topic, 0): plain(bytes(3000))})
    assert failed.value.fate is Fate.TOO_LARGE
    await owner.stop(stage.clock.now() + STOP_SECONDS)
    again = await stage.owner(id)
    await again.write({TopicPartition(topic, 0): plain(*[bytes(900)] * 5)})  # each fits, together they do not
    await again.commit()
    assert (len(await there(stage, topic)), await values(stage, other)) == (5, [])


async def test_a_compacted_topic_takes_no_record_without_a_key(stage: Stage) -> None:
    topic = await stage.topic(1, {"cleanup.policy": "compact"})
    owner = await stage.owner(stage.new_name())
    with pytest.raises(NotCommitted) as failed:
        await owner.write({TopicPartition(topic, 0): plain(b"keyless")})
    assert failed.value.fate is Fate.REFUSED


async def test_of_a_compacted_topic_the_latest_of_each_key_is_what_counts(stage: Stage) -> None:
    """Earlier ones may be gone, and are gone for good some day; so is a key whose latest is a null."""
    topic = await stage.topic(1, {"cleanup.policy": "compact"})
    owner = await stage.owner(stage.new_name())
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None)):
        await owner.write({TopicPartition(topic, 0): [OutgoingRecord(key, value)]})
        await owner.commit()
    await owner.write({TopicPartition(topic, 0): [OutgoingRecord(b"a", b"3")]})
    await owner.abort()
    assert {record.key: record.value for record in await there(stage, topic)} == {b"a": b"2", b"b": None}


async def test_a_group_is_described_with_what_each_member_subscribes_to(stage: Stage) -> None:
    topic, other, missing = await stage.topic(), await stage.topic(), stage.new_name()
    group, groups = stage.new_name(), stage.transport().groups()
    assert await groups.describe(group) == ("Dead", ())
    assert group not in await groups.names()
    first = stage.member(group)
    await first.start([topic], optional=[missing])
    await first.holding(4)
    assert group in await groups.names()
    state, members = await groups.describe(group)
    assert (state, [set(member.topics) for member in members]) == ("Stable", [{topic, missing}])
    assert all(member.client_id and member.host for member in members)
    second = await stage.join(group, topic, other)
    await second.holding(6)
    await first.holding(2)
    described = await groups.describe(group)
    assert sorted(sorted(member.topics) for member in described.members) == sorted(
        [sorted({topic, missing}), sorted({topic, other})]
    )


async def test_a_group_that_its_members_have_left_is_empty(stage: Stage) -> None:
    topic, group, groups = await stage.topic(partitions=1), stage.new_name(), stage.transport().groups()
    await stage.write(topic, 0, numbered(1))
    member = await stage.join(group, topic)
    await member.having_read(1)
    await member.commit({TopicPartition(topic, 0): member.next_position(TopicPartition(topic, 0))})
    await member.stop()
    async with asyncio.timeout(SECONDS):
        assert (await groups.describe(group)) == ("Empty", ())
