"""A real Kafka keeps letters for a while: what was done to one is kept for as long as it is there."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import pytest
from confluent_kafka import TopicPartition as WitnessPartition

from convex_messaging_fastapi import MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.observers import ONLY_THE_LOG
from convex_messaging_fastapi.operations import Filter, Letter, Operations
from convex_messaging_fastapi.operations.replaying.replayer import READ_AT_ONCE
from convex_messaging_fastapi.operations.states import StateOfLetter, state_of
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Transport, Verdict
from convex_messaging_fastapi.transport.kafka import kafka_transport
from tests.conftest import KafkaWith
from tests.operations.support import a_letter, original
from tests.operations.test_cost_over_kafka import parts_of
from tests.promises.stage import Reset, Stage
from tests.promises.test_log_reader import read
from tests.promises.test_replaying import Scene
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster

EAGER = {
    "log.retention.check.interval.ms": "500",
    "log.cleaner.backoff.ms": "500",
    "log.segment.delete.delay.ms": "1000",
}
"""A broker that removes at once what it may remove."""

OF_SECONDS = {"retention.ms": "4000", "segment.ms": "1000"}
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "1000",
    "max.compaction.lag.ms": "1000",
}
PARTITIONS = 2
AT_ONCE = 10
COUNT = READ_AT_ONCE + 400


@pytest.mark.timeout(900)
@pytest.mark.parametrize("expired", [60, pytest.param(2000, marks=pytest.mark.long)])
async def test_a_state_never_goes_before_its_letter(kafka_with: KafkaWith, unique: str, expired: int) -> None:
    """Both topics lose what they may lose all the time, until so many letters have gone."""
    cluster = kafka_with(EAGER)
    parts, operator = parts_of(cluster, unique), Operations(parts_of(cluster, unique))
    cluster.create_topic(parts.naming.dead_letters, PARTITIONS, config=OF_SECONDS)
    cluster.create_topic(parts.naming.dead_letter_states, 1, config=COMPACTED)
    done, seen = 0, set[str]()
    while await gone(parts) < expired or await states_kept(parts) >= done:
        await write(parts, AT_ONCE, PARTITIONS)
        job = await operator.discard(Filter(), by="ada", reason="no use", dry_run=False)
        assert (job.status, dict(job.refused)) == ("done", {})
        done += job.done
        letters = await listed(parts)
        assert {letter.state for letter in letters} <= {"discarded"}
        seen |= {letter.id for letter in letters}
    print(f"{done} were discarded, {await gone(parts)} are gone, {await states_kept(parts)} states are left")  # noqa: T201
    assert seen


async def test_no_state_of_a_topic_counts_once_it_was_made_anew(kafka: Cluster, unique: str) -> None:
    parts = parts_of(kafka, unique)
    topic = kafka.create_topic(parts.naming.dead_letters, 1)
    await write(parts, 3)
    job = await Operations(parts).discard(Filter(), by="ada", reason="no use", dry_run=False)
    assert (job.status, job.done) == ("done", 3)
    assert [letter.state for letter in await listed(parts)] == ["discarded"] * 3
    kafka.delete_topic(topic)
    kafka.create_topic(topic, 1)
    await write(parts, 2)
    letters = await listed(parts)
    assert {letter.id: (letter.state, letter.history) for letter in letters} == {
        "0/0": ("open", ()),
        "0/1": ("open", ()),
    }
    assert (await Operations(parts).discard(Filter(), by="ada", reason="no use")).selected == 2


async def test_letters_that_expire_meanwhile_are_counted_and_the_job_goes_on(
    kafka: Cluster, unique: str
) -> None:
    """A thousand are read ahead, for ten seconds: all others are gone by then."""
    stage = stage_on(kafka, unique)
    scene = Scene(stage)
    await scene.open()
    try:
        await scene.letters(COUNT)
        await scene.member()
        operator = scene.operator()
        job = await operator.replay(Filter(), by="ada", rate=100.0, dry_run=False)
        await eventually(lambda: (under_way := operator.job(job.id)) and under_way.done, 60, "a copy")
        await asyncio.to_thread(expire, kafka, scene.naming.dead_letters, COUNT // 2)
        await scene.letters(20, first=COUNT)
        job = await operator.wait_for(job.id)
        print(f"{job.done} of {job.selected} were copied, {dict(job.refused)}")  # noqa: T201
        assert (job.status, job.error, job.selected) == ("done", "", COUNT)
        assert (job.done, dict(job.refused)) == (READ_AT_ONCE, {"gone": COUNT - READ_AT_ONCE})
        assert len(await scene.copies()) == job.done
        assert (await scene.replayed(operator)).done == 20
    finally:
        await scene.close()
        await stage.close()


def expire(cluster: Cluster, topic: str, before: int) -> None:
    """All letters before this offset, of each partition."""
    admin = cluster.admin()
    wanted = [WitnessPartition(topic, partition, before) for partition in range(PARTITIONS)]
    for removed in admin.delete_records(wanted).values():
        assert removed.result(20).low_watermark == before


async def gone(parts: Parts) -> int:
    """How many letters their topic has kept until now, and does not keep any more."""
    ranges = await parts.transport.log_reader().ranges(parts.naming.dead_letters)
    return sum(first for first, _ in ranges.values())


async def states_kept(parts: Parts) -> int:
    """How many records of the state topic tell of a letter."""
    reader = parts.transport.log_reader()
    records = await read(reader, *(await reader.ranges(parts.naming.dead_letter_states)).items())
    return sum(isinstance(state_of(record), StateOfLetter) for record in records)


def stage_on(cluster: Cluster, unique: str) -> Stage:
    def transport(reset: Reset) -> Transport:
        settings = MessagingSettings(bootstrap_servers=cluster.bootstrap, auto_offset_reset=reset)
        return kafka_transport(settings, SystemClock(), ONLY_THE_LOG)

    return Stage("kafka", unique, transport, {})


async def write(parts: Parts, count: int, partitions: int = 1) -> None:
    """So many letters about different messages, to each partition."""
    letter, producer = a_letter(original()), parts.transport.producer()
    others = [header for header in letter.headers if header[0] != "message-id"]
    await producer.start()
    try:
        for partition in range(partitions):
            ids = [("message-id", str(uuid.uuid4()).encode()) for _ in range(count)]
            letters = [letter._replace(headers=(id, *others)) for id in ids]
            sent = await producer.send(TopicPartition(parts.naming.dead_letters, partition), letters)
            assert (sent.verdict, sent.taken) == (Verdict.WRITTEN, count)
    finally:
        await producer.stop(parts.clock.now() + 5)


async def listed(parts: Parts) -> Sequence[Letter]:
    page = await Operations(parts).dead_letters(Filter(state="all"), limit=1000)
    assert (page.next, page.truncated, page.states_problem) == (None, "", "")
    return page.letters
