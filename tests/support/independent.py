"""An independent witness: reads and writes a Kafka by confluent-kafka, which shares no code with ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar, cast

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from tests.support.waiting import until

PATIENCE_SECONDS = 30.0
ANSWER_SECONDS = 5.0
"""After which librdkafka asks again: a broker that dies or stalls may have forgotten what it was asked."""

T = TypeVar("T")

ASKED_AGAIN = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
    }
)
"""A leader or a coordinator moves, or a broker went away over the question: librdkafka finds the one to ask,
and leaves it to its user to ask again."""


class Seen(NamedTuple):
    """One record as librdkafka read it."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Committed(NamedTuple):
    """Without the metadata: librdkafka does not end its text, and what follows it in memory is read too."""

    offset: int


class Independent:
    """All calls block; on an event loop call them by `asyncio.to_thread`."""

    def __init__(self, bootstrap: str) -> None:
        self._settings = {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "reconnect.backoff.max.ms": 200,
            "socket.timeout.ms": int(ANSWER_SECONDS * 1000),
        }

    def read(self, topic: str, *, isolation: str = "read_committed", with_headers: bool = True) -> list[Seen]:
        """Every record from the beginning to the end as it is now, in order within a partition.

        A header whose name is no UTF-8 cannot be read: leave the headers out where there may be one.
        """
        consumer = self._consumer(isolation)
        try:
            return [_seen(message, with_headers) for message in _read_to_end(consumer, topic)]
        finally:
            consumer.close()

    def ends(self, topic: str, *, isolation: str = "read_uncommitted") -> dict[int, int]:
        """The log end offset of each partition; `read_committed`: where its first open transaction begins."""
        consumer = self._consumer(isolation)
        try:
            return {p: _watermarks(consumer, topic, p)[1] for p in _partitions(consumer, topic)}
        finally:
            consumer.close()

    def committed(self, group: str, topic: str) -> dict[int, Committed]:
        """What the group has committed, for the partitions where it has."""
        # by a consumer that never joins: the admin client crashes on a coordinator that is still loading
        consumer = self._consumer("read_uncommitted", group)
        try:
            asked = [TopicPartition(topic, p) for p in _partitions(consumer, topic)]
            answer = answered(lambda: consumer.committed(asked, timeout=2 * ANSWER_SECONDS))
        finally:
            consumer.close()
        return {found.partition: Committed(found.offset) for found in answer if found.offset >= 0}

    def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Commit for a group that has no members, which makes it known to the cluster."""
        consumer = self._consumer("read_uncommitted", group)
        try:
            consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
        finally:
            consumer.close()

    def lag(self, group: str, topic: str) -> int:
        """How many offsets lie between what the group committed and the log's end."""
        committed = self.committed(group, topic)
        return sum(end - committed.get(p, Committed(0)).offset for p, end in self.ends(topic).items())

    def write(
        self,
        topic: str,
        values: Iterable[bytes | str | None],
        *,
        key: bytes | str | None = None,
        headers: list[tuple[str, str | bytes | None]] | None = None,
        partition: int = -1,
        settings: Mapping[str, object] | None = None,
    ) -> list[tuple[int, int]]:
        """Write one record a value and return (partition, offset) of each; `settings` are librdkafka's."""
        patience = {"linger.ms": 0, "request.timeout.ms": int(ANSWER_SECONDS * 1000)}
        producer = Producer({**self._settings, **patience, **(settings or {})})
        landed: list[Message | KafkaError] = []
        for value in values:
            producer.produce(
                topic,
                value,
                key,
                partition=partition,
                headers=headers or [],
                on_delivery=lambda error, message: landed.append(error or message),
            )
        if unsent := producer.flush(PATIENCE_SECONDS):
            raise TimeoutError(f"{unsent} records were not written to {topic} within {PATIENCE_SECONDS:g} s")
        return [_where(answer) for answer in landed]

    def _consumer(self, isolation: str, group: str = "independent") -> Consumer:
        return Consumer(
            {
                **self._settings,
                "group.id": group,  # librdkafka wants one; nothing joins or commits under it
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": isolation,
            }
        )


def answered(ask: Callable[[], T]) -> T:
    """What `ask` returns, asked again for up to 30 s while no broker that knows is there to answer."""
    answers: list[T] = []

    def is_answered() -> bool:
        try:
            answers.append(ask())
        except KafkaException as error:
            if error.args[0].code() not in ASKED_AGAIN:
                raise
        return bool(answers)

    until(is_answered, PATIENCE_SECONDS, "an answer by the leader or the coordinator")
    return answers[0]


def _read_to_end(consumer: Consumer, topic: str) -> Iterable[Message]:
    partitions = _partitions(consumer, topic)
    starts = [TopicPartition(topic, p, _watermarks(consumer, topic, p)[0]) for p in partitions]
    consumer.assign(starts)
    unread = set(partitions)
    while unread:
        message = consumer.poll(PATIENCE_SECONDS)
        if message is None:
            raise TimeoutError(f"{topic} was not read to its end: partitions {sorted(unread)} are missing")
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            unread.discard(message.partition())
        elif error.code() not in ASKED_AGAIN:  # librdkafka asks again by itself, and tells of it
            raise KafkaException(error)


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    return answered(lambda: _partitions_now(consumer, topic))


def _partitions_now(consumer: Consumer, topic: str) -> list[int]:
    found = consumer.list_topics(topic, timeout=2 * ANSWER_SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def _watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    low, high = answered(
        lambda: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=2 * ANSWER_SECONDS)
    )
    return low, high


def _seen(message: Message, with_headers: bool) -> Seen:
    partition, offset = _where(message)
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or []) if with_headers else []
    return Seen(partition, offset, message.timestamp()[1], message.key(), message.value(), tuple(headers))


def _where(answer: Message | KafkaError) -> tuple[int, int]:
    if isinstance(answer, KafkaError):
        raise KafkaException(answer)
    return cast("int", answer.partition()), cast("int", answer.offset())
