"""Commits that carry more than a broker takes, and offsets that hold nothing to read."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords
from confluent_kafka import Producer
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from tests.conftest import KafkaWith
from tests.faults.conftest import NewCrew
from tests.faults.crew import PARTITIONS, Crew
from tests.faults.evidence import Allowed
from tests.faults.trial import Trial, Trials
from tests.support.waiting import until
from tests.transport.kafka.consumer.test_gaps import compact_soon
from tools.kafka.cluster import Cluster

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

SMALL = {"offset.metadata.max.bytes": "120"}
"""Brokers take 4,096 by default."""
KEYS = 400
MAX_UNCOMMITTED = 500
SILENCE_SECONDS = 3.0
FLAKY: dict[str, Any] = {
    "KAFKA_MAX_UNCOMMITTED": MAX_UNCOMMITTED,
    "KAFKA_RETRY_DELAY_SECONDS": 5,
    "KAFKA_AUTO_COMMIT_INTERVAL_MS": 500,
    "FAULTS_FLAKY_EVERY": 3,
}
"""So many records wait for their second try that what is finished above them does not fit into 120 bytes."""


def test_a_broker_takes_only_little_metadata_with_a_commit(
    kafka_with: KafkaWith, new_crew: NewCrew, trials: Trials
) -> None:
    """The offsets are committed all the same. What they would have told of may come again."""
    crew = new_crew(kafka_with(SMALL))
    allowed = Allowed(repeats=MAX_UNCOMMITTED, recovery=10)
    with trials.run(
        "F37 a small offset.metadata.max.bytes", crew, 1, allowed=allowed, keys=KEYS, **FLAKY
    ) as trial:
        with trial.fault("commits that are too large"):
            before = crew.committed(trial.topic)
            began = time.monotonic()
            trial.handle_more(4 * MAX_UNCOMMITTED)
            silence = max(longest_silence(trial, partition, began) for partition in range(PARTITIONS))
            until(lambda: has_moved(trial, before), 20, "every partition to be committed further")
        trials.tell(f"nothing of a partition was committed for {silence:.1f} s at most")
        assert silence < SILENCE_SECONDS
        with trial.fault("kill -9 of the worker"):
            (worker,) = trial.workers.values()
            trial.kill(worker)
            worker.start().wait_ready()
        trial.handle_more(200)


def longest_silence(trial: Trial, partition: int, since: float) -> float:
    """The most seconds from one commit of a partition that was stored to the next, until now."""
    notes = trial.crew.ledger.notes()
    stored = [n.at for n in notes if n.event == "committed" and n.partition == partition and n.at >= since]
    return max(later - sooner for sooner, later in pairwise([since, *stored, time.monotonic()]))


def has_moved(trial: Trial, before: dict[tuple[str, int], int]) -> bool:
    """Whether all partitions, of which some were committed before, are committed further."""
    now = trial.crew.committed(trial.topic)
    return all(offset > before.get(where, 0) for where, offset in now.items())


QUICKLY = {
    "cleanup.policy": "compact",
    "segment.ms": "50",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "50",
}


def test_the_cleaner_empties_the_end_of_a_transaction(crew: Crew, trials: Trials) -> None:
    """Of a compacted topic that was written in transactions; what librdkafka reads of it is handled."""
    topic = crew.cluster.create_topic(f"{crew.name}.other", 1, config=QUICKLY)
    compact_soon(crew.cluster)
    write_and_leave_a_transaction(crew, topic)
    asyncio.run(until_emptied(crew, topic))
    leave_as_it_is(crew.cluster, topic)
    two_topics: dict[str, Any] = {"FAULTS_TOPICS": "work,other"}
    with trials.run("F38 a marker that the cleaner emptied", crew, 1, **two_topics) as trial:
        trial.add_topic("other")
        with trial.fault("a marker that the cleaner emptied"):
            trial.handle_more(200)
        ends = crew.witness.ends(topic)
        until(lambda: crew.committed(topic) == {(topic, p): end for p, end in ends.items()}, 30, "its end")
        assert trial.workers["one"].said("/health/kafka/ready") == '{"status":"up"}'


def write_and_leave_a_transaction(crew: Crew, topic: str) -> None:
    """Its successor aborts it by a marker of a new epoch, and writes nothing of its own.

    So that marker is the last that its producer has in the log, and its batch is kept when it is emptied.
    """
    settings = {"bootstrap.servers": crew.cluster.bootstrap, "transactional.id": topic}
    first, second = Producer(settings), Producer(settings)
    first.init_transactions(10)
    first.begin_transaction()
    first.produce(topic, b"never", b"the same", partition=0)
    first.flush(10)
    second.init_transactions(10)


async def until_emptied(crew: Crew, topic: str) -> None:
    """Write on, for the cleaner leaves the end of a log alone, until there is such a batch."""
    client = AIOKafkaClient(bootstrap_servers=crew.cluster.bootstrap)
    await client.bootstrap()
    id = 10**6
    try:
        async with asyncio.timeout(60):
            while not await has_emptied_marker(client, topic):
                values = [f'{{"Id":{id + n}}}' for n in range(5)]
                await asyncio.to_thread(crew.witness.write, topic, values, key="the same")
                id += 5
    finally:
        await client.close()


async def has_emptied_marker(client: AIOKafkaClient, topic: str) -> bool:
    (broker,) = client.cluster.brokers()
    asked = FetchRequest(100, 1, 2**20, 1, [(topic, [(0, 0, 2**20)])])
    answer = await client.send(broker.nodeId, asked)
    batches = MemoryRecords(answer.topics[0][1][0][-1])
    while batches.has_next():
        batch = batches.next_batch()
        if batch.is_control_batch and next(batch, None) is None:
            return True
    return False


def leave_as_it_is(cluster: Cluster, topic: str) -> None:
    """From now on the cleaner takes nothing more."""
    entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    admin = cluster.admin()  # which must outlive its question
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(20)
