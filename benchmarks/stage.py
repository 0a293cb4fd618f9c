"""The broker's side: one real Kafka, topics with the same settings for everybody, backlogs to read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from benchmarks import messages
from benchmarks.workloads import Backlog, Workload
from tools.kafka.cluster import Cluster
from tools.kafka.opening import open_cluster

Headers = list[tuple[str, str | bytes | None]]

TOPIC = {"retention.ms": "3600000", "file.delete.delay.ms": "1000"}
DIFFERENT = 10_000
PATIENCE_SECONDS = 300.0


class Stage:
    """Prepares what a workload needs, and clears it away."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._filled: set[Backlog] = set()

    @contextmanager
    def set_for(self, workload: Workload) -> Iterator[str]:
        """The name of the topic that the workload uses; a backlog stays for others that share it."""
        if workload.backlog is not None:
            yield self.filled(workload.backlog)
            return
        with self.topic(workload.partitions) as topic:
            yield topic

    @contextmanager
    def topic(self, partitions: int) -> Iterator[str]:
        """An empty topic, deleted in the end."""
        name = f"bench-{uuid.uuid4().hex[:8]}"
        self.cluster.create_topic(name, partitions, config=TOPIC)
        try:
            yield name
        finally:
            self._delete(name)

    def let_go(self, needed: set[Backlog]) -> None:
        """Delete the backlogs that no workload needs any more."""
        for backlog in self._filled - needed:
            self._delete(backlog.topic)
        self._filled &= needed

    def filled(self, backlog: Backlog) -> str:
        """A topic that holds this backlog, until it is let go."""
        if backlog not in self._filled:
            self.cluster.create_topic(backlog.topic, backlog.partitions, config=TOPIC)
            _fill(self.cluster.bootstrap, backlog)
            self._filled.add(backlog)
        return backlog.topic

    def _delete(self, topic: str) -> None:
        admin = self.cluster.admin()  # the answer comes only while somebody holds it
        admin.delete_topics([topic])[topic].result(30)


@contextmanager
def set_up() -> Iterator[Stage]:
    """A stage on one real broker."""
    with open_cluster(1) as cluster:
        yield Stage(cluster)


def _fill(bootstrap: str, backlog: Backlog) -> None:
    """By librdkafka, in large batches, so that no contestant reads what it wrote itself."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "batch.size": 256 * 1024,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 200_000,
        }
    )
    headers: Headers = [*messages.HEADERS] if backlog.headers else []
    values = [
        messages.encoded(messages.message(n, backlog.size)) for n in range(min(DIFFERENT, backlog.count))
    ]
    for number in range(backlog.count):
        key = messages.key(number, backlog.keys)
        _produce(producer, backlog.topic, values[number % len(values)], key, headers)
    if left := producer.flush(PATIENCE_SECONDS):
        raise TimeoutError(f"{left} messages of {backlog.topic} could not be written")


def _produce(producer: Producer, topic: str, value: bytes, key: str | None, headers: Headers) -> None:
    while True:
        try:
            producer.produce(topic, value, key, headers=headers)
        except BufferError:
            producer.poll(0.1)
        else:
            return
