"""Writes to logs over aiokafka: in batches, with honest verdicts, by a new engine after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import RecordMetadata

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, sleep
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Contact, Problem, Sent, Verdict
from convex_messaging_fastapi.transport.kafka.engine import InvalidRecord, Pack, Writer, pack, size_in_batch
from convex_messaging_fastapi.transport.kafka.producer.sizes import Sizes
from convex_messaging_fastapi.transport.kafka.recovery import (
    Ended,
    Explanation,
    Supervisor,
    explain_publish,
    verdict_on,
)
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

_CERTAINLY_REFUSED = (Verdict.TOO_LARGE, Verdict.REFUSED)

_IN_PARTS = Sent(0, Verdict.REFUSED, reason="one of the batch is no record for its topic")
"""Kafka answers for a batch as a whole; ever smaller batches tell good records from bad."""


class KafkaProducer:
    """Implements `ProducerTransport`."""

    def __init__(self, clock: Clock, tuning: Tuning, supervisor: Supervisor[Writer]) -> None:
        self._clock, self._tuning, self._supervisor = clock, tuning, supervisor
        self._sizes = Sizes()

    async def start(self) -> None:
        self._supervisor.start(self)

    async def stop(self, deadline: float) -> None:
        await self._supervisor.stop(deadline)

    def contact(self) -> Contact:
        return self._supervisor.contact(member=True)

    # What the supervisor calls: a producer has nothing that goes with its engine.

    def started(self, writer: Writer) -> None: ...

    async def lost(self, writer: Writer) -> None: ...

    async def partition_count(self, topic: str) -> int:
        try:
            return await self._partition_count(topic)
        except Ended:
            raise TopicUnavailable(
                f"topic {topic!r} cannot be used: the producer was stopped", "publish it after the next start"
            ) from None

    def complaint(self, where: TopicPartition) -> str:
        writer = self._supervisor.current
        return "" if writer is None else writer.complaint(where)

    async def send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        try:
            return await self._send_some(where, records)
        except Ended:
            return Sent(len(records), Verdict.FAILED, reason="the producer was stopped")

    def send_now(
        self, where: TopicPartition, record: OutgoingRecord, answered: Callable[[Sent], None]
    ) -> bool:
        writer = self._supervisor.current
        if writer is None or where.partition >= writer.partitions(where.topic):
            return False
        if self._known_too_large(writer, where.topic, record) is not None:
            return False
        timestamp_ms = int(self._clock.unix() * 1000)
        packed = pack((record,), timestamp_ms, self._tuning.batch_bytes)
        fate = writer.submit_now(packed.batch, where)
        if fate is None:
            return False

        def tell(fate: asyncio.Future[RecordMetadata]) -> None:
            self._after(writer, where, packed, fate)
            answered(self._told(writer, where, packed, timestamp_ms, fate))

        fate.add_done_callback(tell)
        return True

    async def _partition_count(self, topic: str) -> int:
        doubts = 0
        while True:
            writer = await self._supervisor.engine()
            if count := writer.partitions(topic):
                return count
            if (error := await self._unavailable(writer, topic)) is not None:
                # A broker may be a moment behind the one that has just created the topic.
                doubts += 1
                if doubts > 1:
                    raise error
            await sleep(self._clock, self._tuning.retry_seconds)

    async def _send_some(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        while True:
            writer = await self._supervisor.engine()
            if where.partition >= writer.partitions(where.topic):
                if (sent := await self._find(writer, where)) is not None:
                    return sent
                continue
            if (refused := self._known_too_large(writer, where.topic, records[0])) is not None:
                return refused
            timestamp_ms = int(self._clock.unix() * 1000)
            packed = pack(records, timestamp_ms, self._batch_bytes(writer, where.topic))
            sent = await self._send(writer, where, packed, timestamp_ms)
            if sent is _IN_PARTS:
                records = records[: packed.taken // 2]
            elif sent is not None:
                return sent

    async def _send(
        self, writer: Writer, where: TopicPartition, packed: Pack, timestamp_ms: int
    ) -> Sent | None:
        """What became of one batch; `None` if it must be packed and sent again."""
        try:
            fate = await writer.submit(packed.batch, where)
        except KafkaTimeoutError:
            return None  # an older batch of this partition still waits, though its caller has gone
        except KafkaError as error:
            self._replace(writer, error)
            return None
        fate.add_done_callback(partial(self._after, writer, where, packed))
        try:
            # Shielded, because `_after` must see the result even if the caller goes away.
            written = await asyncio.shield(fate)
        except KafkaError as error:
            return self._judge(writer, where, packed, error)
        return Sent(packed.taken, Verdict.WRITTEN, written.offset, _written_at(written, timestamp_ms))

    def _told(
        self,
        writer: Writer,
        where: TopicPartition,
        packed: Pack,
        timestamp_ms: int,
        fate: asyncio.Future[RecordMetadata],
    ) -> Sent:
        """What became of a batch of one."""
        if fate.cancelled():  # an engine may cancel its own futures while it falls
            return Sent(1, Verdict.UNKNOWN, reason="the engine gave it up")
        match fate.exception():
            case None:
                written = fate.result()
                return Sent(1, Verdict.WRITTEN, written.offset, _written_at(written, timestamp_ms))
            case KafkaError() as error if (sent := self._judge(writer, where, packed, error)) is not None:
                return sent
            case error:
                return Sent(1, Verdict.UNKNOWN, reason=f"the engine raised {type(error).__name__}")

    def _judge(self, writer: Writer, where: TopicPartition, packed: Pack, error: KafkaError) -> Sent | None:
        verdict = verdict_on(error)
        if isinstance(error, InvalidRecord) and packed.taken > 1:
            return _IN_PARTS
        if verdict is not Verdict.TOO_LARGE:
            return Sent(packed.taken, verdict, reason=_reason(error, where.topic))
        name, id, now = where.topic, writer.identity(where.topic), self._clock.now()
        if packed.taken > 1:
            self._sizes.refuse_batch(name, id, packed.size, now)
            return None
        self._sizes.refuse_record(name, id, packed.size, now)
        return Sent(1, verdict, reason=f"{packed.size} bytes in all are more than max.message.bytes there")

    def _known_too_large(self, writer: Writer, topic: str, record: OutgoingRecord) -> Sent | None:
        """The answer for a record that need not be sent, because one of its size or less was just refused."""
        refused = self._sizes.refused(topic, writer.identity(topic), self._clock.now())
        if refused is None or (size := size_in_batch(record)) < refused:
            return None
        told = f"{size} bytes in all, and {refused} have just been more than max.message.bytes there"
        return Sent(1, Verdict.TOO_LARGE, reason=told)

    def _batch_bytes(self, writer: Writer, topic: str) -> int:
        return self._sizes.batch(topic, writer.identity(topic), self._clock.now(), self._tuning.batch_bytes)

    def _after(
        self, writer: Writer, where: TopicPartition, packed: Pack, fate: asyncio.Future[RecordMetadata]
    ) -> None:
        """Make sure that the partition takes the next batch, even if the caller of this one has gone.

        The engine counts a failed batch in its sequence numbers, but the broker does not.
        """
        if fate.cancelled() or (error := fate.exception()) is None:
            return
        if verdict_on(error) not in _CERTAINLY_REFUSED or not writer.take_back(packed.batch, where):
            self._replace(writer, error)

    def _replace(self, writer: Writer, error: BaseException) -> None:
        why = Explanation(Problem.ENGINE_FAILED, f"a batch failed: {type(error).__name__}")
        self._supervisor.replace(writer, why, at_once=True)

    async def _find(self, writer: Writer, where: TopicPartition) -> Sent | None:
        """Learn the leader of a partition; returns the answer to send if there is no such partition."""
        if (error := await self._unavailable(writer, where.topic)) is not None:
            return Sent(1, Verdict.FAILED, reason=str(error))
        if 0 < (count := writer.partitions(where.topic)) <= where.partition:
            return Sent(1, Verdict.REFUSED, reason=f"the topic has {count} partitions")
        if not count:
            await sleep(self._clock, self._tuning.retry_seconds)
        return None

    async def _unavailable(self, writer: Writer, topic: str) -> TopicUnavailable | None:
        """Why the cluster does not let us use a topic; `None` if it does, or does not answer."""
        try:
            answer = await writer.ask(topic)
        except KafkaError as error:
            reports.no_answer(f"asking for topic {topic}", type(error).__name__)
            return None
        if answer.exists:
            await writer.follow(topic)
        return _unavailable(topic, answer.error)


def _unavailable(topic: str, error: type[Exception]) -> TopicUnavailable | None:
    start = f"topic {topic!r} cannot be used:"
    if error is UnknownTopicOrPartitionError:
        return TopicUnavailable(f"{start} the cluster has no such topic, and publishing creates none")
    if error is InvalidTopicError:
        return TopicUnavailable(f"{start} Kafka takes no such name for a topic", "choose another name")
    if error is TopicAuthorizationFailedError:
        return TopicUnavailable(
            f"{start} {explain_publish(error(), topic)}", "publish it again once that is done"
        )
    return None


def _reason(error: KafkaError, topic: str) -> str:
    return error.description if isinstance(error, InvalidRecord) else explain_publish(error, topic)


def _written_at(written: RecordMetadata, timestamp_ms: int) -> int:
    """The log's own time, if the topic is set so; else the time that was sent."""
    return int(written.timestamp) if written.timestamp > 0 else timestamp_ms
