"""What is written comes back as it was, in order, at the offsets that the producer was told."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import (
    HEADERS_LEFT_OUT,
    MAX_HEADERS,
    OutgoingRecord,
    TopicPartition,
)
from convex_messaging_fastapi.transport.base import NewTopic, Sent, Transport, Verdict
from tests.promises.stage import Stage, numbered, plain

MIB = 1024 * 1024

ODD_RECORDS = [
    OutgoingRecord(b"key", b"value", (("content-type", b"application/json"),)),
    OutgoingRecord(None, b"no key"),
    OutgoingRecord(b"", b"empty key"),
    OutgoingRecord(b"tombstone", None),
    OutgoingRecord(b"empty value", b""),
    OutgoingRecord(None, None),
    OutgoingRecord(bytes(range(256)), bytes(reversed(range(256)))),
    OutgoingRecord(b"k", b"twice the same header", (("a", b"1"), ("b", b"2"), ("a", b"3"))),
    OutgoingRecord(b"k", b"null, empty and no text", (("null", None), ("empty", b""), ("", b"\xff\xfe\x00"))),
    OutgoingRecord(b"k", b"a name in any script", (("ключ", "значение".encode()), ("x" * 70_000, b"long"))),
    OutgoingRecord(b"k", b"many headers", tuple((f"h{n}", b"%d" % n) for n in range(MAX_HEADERS))),
]


async def test_records_come_back_byte_for_byte(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    await stage.write(topic, 0, ODD_RECORDS)
    member = await stage.join(stage.new_name(), topic)
    await member.having_read(len(ODD_RECORDS))
    assert [OutgoingRecord(r.key, r.value, r.headers) for r in member.records] == ODD_RECORDS
    assert [type(r.headers) for r in member.records] == [tuple] * len(ODD_RECORDS)


@pytest.mark.parametrize("count", [MAX_HEADERS + 1, 20_000])
async def test_of_too_many_headers_the_first_are_kept_and_the_others_counted(
    stage: Stage, count: int
) -> None:
    topic = await stage.topic(partitions=1)
    headers = tuple((f"h{n}", b"") for n in range(count))
    await stage.write(topic, 0, [OutgoingRecord(b"k", b"v", headers)])
    member = await stage.join(stage.new_name(), topic)
    await member.having_read(1)
    (record,) = member.records
    left_out = count - MAX_HEADERS + 1
    assert record.headers == (*headers[:-left_out], (HEADERS_LEFT_OUT, b"%d" % left_out))
    assert len(record.headers) == MAX_HEADERS


async def test_a_record_carries_the_offset_and_time_that_its_producer_was_told(stage: Stage) -> None:
    topic = await stage.topic()
    first = await stage.write(topic, 2, plain(b"a", b"b"))
    second = await stage.write(topic, 2, plain(b"c"))
    assert [sent.base_offset for sent in (*first, *second)] == [0, 2]
    member = await stage.join(stage.new_name(), topic)
    await member.having_read(3)
    assert [(r.topic, r.partition, r.offset) for r in member.records] == [(topic, 2, n) for n in range(3)]
    assert [r.timestamp_ms for r in member.records] == [first[0].timestamp_ms] * 2 + [second[0].timestamp_ms]
    assert abs(first[0].timestamp_ms / 1000 - stage.clock.unix()) < 60


async def test_order_is_kept_within_every_partition(stage: Stage) -> None:
    topic = await stage.topic()
    for partition in range(4):
        await stage.write(topic, partition, numbered(1500, first=partition * 10_000))
    member = await stage.join(stage.new_name(), topic)
    await member.having_read(6000)
    for partition in range(4):
        mine = [record for record in member.records if record.partition == partition]
        assert [record.offset for record in mine] == list(range(1500))
        assert [record.value for record in mine] == [r.value for r in numbered(1500, partition * 10_000)]


async def test_more_than_one_batch_holds_is_written_in_several(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    records = plain(*(b"%d" % n * 100_000 for n in range(10)), *(bytes([n]) * 400_000 for n in range(5)))
    sent = await stage.write(topic, 0, records)
    assert len(sent) > 1
    assert [answer.base_offset for answer in sent] == [
        sum(s.taken for s in sent[:n]) for n in range(len(sent))
    ]
    member = await stage.join(stage.new_name(), topic)
    assert await member.having_read(len(records)) == [record.value for record in records]


async def test_positions_are_the_next_offsets_of_what_was_fetched(stage: Stage) -> None:
    topic = await stage.topic()
    await stage.write(topic, 1, numbered(7))
    await stage.write(topic, 3, numbered(5))
    member = await stage.join(stage.new_name(), topic)
    await member.having_read(12)
    assert member.positions == {TopicPartition(topic, 1): 7, TopicPartition(topic, 3): 5}


async def test_one_member_reads_several_topics(stage: Stage) -> None:
    one, two = await stage.topic(partitions=1), await stage.topic(partitions=3)
    member = await stage.join(stage.new_name(), one, two)
    await member.holding(4)
    await stage.write(one, 0, plain(b"one"))
    await stage.write(two, 2, plain(b"two"))
    await member.having_read(2)
    assert {(r.topic, r.value) for r in member.records} == {(one, b"one"), (two, b"two")}


async def test_a_record_too_large_is_not_written_and_the_next_one_is(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    producer = await stage.producer()
    where = TopicPartition(topic, 0)
    for size in (MIB + MIB // 2, 3 * MIB):
        sent = await producer.send(where, plain(b"x" * size, b"after"))
        assert (sent.taken, sent.verdict) == (1, Verdict.TOO_LARGE)
        assert "bytes" in sent.reason
        assert (await producer.send(where, plain(b"after"))).verdict is Verdict.WRITTEN
    member = await stage.join(stage.new_name(), topic)
    assert await member.having_read(2) == [b"after", b"after"]


async def test_a_record_too_large_does_not_take_those_before_it_along(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    producer = await stage.producer()
    records = plain(b"before", b"x" * (MIB + MIB // 2), b"after")
    verdicts: list[Sent] = []
    while records:
        verdicts.append(await producer.send(TopicPartition(topic, 0), records))
        records = records[verdicts[-1].taken :]
    assert [v.verdict for v in verdicts] == [Verdict.WRITTEN, Verdict.TOO_LARGE, Verdict.WRITTEN]
    member = await stage.join(stage.new_name(), topic)
    assert await member.having_read(2) == [b"before", b"after"]


async def test_a_topic_may_take_more_than_the_default(stage: Stage) -> None:
    topic = await stage.topic(partitions=1, config={"max.message.bytes": str(2 * MIB + 24)})
    value = b"x" * (MIB + MIB // 2)
    await stage.write(topic, 0, plain(value, b"after"))
    member = await stage.join(stage.new_name(), topic)
    assert await member.having_read(2) == [value, b"after"]


async def test_a_partition_that_is_not_there_is_refused(stage: Stage) -> None:
    topic = await stage.topic(partitions=2)
    producer = await stage.producer()
    sent = await producer.send(TopicPartition(topic, 2), plain(b"nowhere"))
    assert (sent.verdict, sent.reason) == (Verdict.REFUSED, "the topic has 2 partitions")


async def test_a_topic_has_the_partitions_it_was_made_with(stage: Stage) -> None:
    producer = await stage.producer()
    assert await producer.partition_count(await stage.topic(partitions=3)) == 3


async def test_a_topic_that_exists_is_left_as_it_is(stage: Stage, transport: Transport) -> None:
    topic = await stage.topic(partitions=3)
    await transport.admin().ensure_topic(NewTopic(topic, 7))
    producer = await stage.producer()
    assert await producer.partition_count(topic) == 3


async def test_a_missing_topic_is_refused(stage: Stage) -> None:
    stage.needs("missing topics are refused")
    producer = await stage.producer()
    with pytest.raises(TopicUnavailable, match="no such topic"):
        await producer.partition_count(stage.new_name())


@pytest.mark.parametrize("name", ["no spaces", "..", "x" * 250, "ключ"])
async def test_what_is_no_name_for_a_topic_is_refused(stage: Stage, transport: Transport, name: str) -> None:
    producer = await stage.producer()
    with pytest.raises(TopicUnavailable, match="no such name"):
        await producer.partition_count(name)
    with pytest.raises(TopicUnavailable):
        await transport.admin().ensure_topic(NewTopic(name))
