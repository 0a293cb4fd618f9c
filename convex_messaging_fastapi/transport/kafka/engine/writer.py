"""One idempotent producer of the engine, fed with whole batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as EnginePartition
from aiokafka.errors import ProducerClosed
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import RecordMetadata

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.kafka.engine.client import Client, TopicAnswer, end, failure_of

_NO_CODEC = 0


class Pack(NamedTuple):
    """Leading records, packed into one batch."""

    batch: BatchBuilder
    taken: int
    size: int


class Writer:
    def __init__(self, **options: Any) -> None:
        self._producer = AIOKafkaProducer(enable_idempotence=True, linger_ms=0, **options)
        self._client = Client.adopt(self._producer.client)

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self, clock: Clock, deadline: float) -> None:
        """Wait for what is under way, close everything, by `deadline` even if no broker answers.

        Batches without an answer by then end with `ProducerClosed`.
        """
        if not await end(clock, deadline, self._producer.stop(), [self._sender_task], self._client):
            self._give_up_batches()

    def _give_up_batches(self) -> None:
        accumulator = self._producer._message_accumulator
        queued = [batch for queue in accumulator._batches.values() for batch in queue]
        # A batch that waits to be sent again, or will only now, is forgotten by the engine twice.
        accumulator._pending_batches = _Forgiving(accumulator._pending_batches)
        accumulator.fail_all(ProducerClosed())
        for batch in queued:
            # Nobody waits for this one; without a look it would be logged as a forgotten error.
            batch._drain_waiter.exception()

    def failure(self) -> str | None:
        """Which part of the engine has died, and why; it never comes back by itself."""
        return failure_of("sending", self._sender_task) or failure_of("metadata", self._client.metadata_task)

    def silence(self) -> float | None:
        return self._client.silence()

    @property
    def refused(self) -> bool:
        return self._client.refused

    def poke(self) -> None:
        self._client.poke()

    def chase(self, seconds: float) -> None:
        self._client.chase(seconds)

    def hang_up(self) -> None:
        self._client.hang_up()

    def curious(self) -> bool:
        """A producer asks for itself when it wants to know a topic."""
        return False

    def partitions(self, topic: str) -> int:
        return self._client.partitions(topic)

    async def ask(self, topic: str) -> TopicAnswer:
        return await self._client.ask(topic)

    async def follow(self, topic: str) -> None:
        await self._client.follow(topic)

    async def submit(self, batch: BatchBuilder, where: TopicPartition) -> asyncio.Future[RecordMetadata]:
        """Hand a batch over; the future tells its fate, and may be dropped without harm.

        The topic's partitions must be known. Raises `KafkaError` when nothing was handed over.
        """
        # While metadata is known, this waits only for an older batch of the partition, and that
        # wait ends when the producer is stopped.
        future: asyncio.Future[RecordMetadata] = await self._producer.send_batch(
            batch, where.topic, partition=where.partition
        )
        return future

    def submit_now(self, batch: BatchBuilder, where: TopicPartition) -> asyncio.Future[RecordMetadata] | None:
        """As `submit`, but at once or, when an older batch of the partition still waits, not at all.

        The future is the engine's own: it must not be cancelled.
        """
        accumulator = self._producer._message_accumulator
        partition = EnginePartition(*where)
        if accumulator._closed or accumulator._exception is not None or accumulator._batches.get(partition):
            return None
        future: asyncio.Future[RecordMetadata] = accumulator._append_batch(batch, partition).future
        return future

    @property
    def _sender_task(self) -> asyncio.Task[None] | None:
        task: asyncio.Task[None] | None = self._producer._sender.sender_task
        return task


class _Forgiving(set[Any]):
    """Removes what is not there without a word."""

    remove = set.discard


def pack(records: Sequence[OutgoingRecord], timestamp_ms: int, limit: int) -> Pack:
    """As many leading records as fit `limit` bytes, and always the first."""
    batch = BatchBuilder(limit, _NO_CODEC)
    # Its own `append` takes half as long again, for checks that cannot fail here.
    append = batch._builder.append
    count = 0
    for key, value, headers in records:
        if append(count, timestamp_ms, key, value, list(headers)) is None:
            break
        count += 1
    batch._relative_offset = count
    batch.close()
    return Pack(batch, count, batch.size())


def size_in_batch(record: OutgoingRecord) -> int:
    """How many bytes a batch of this record alone takes, or a few less."""
    headers: list[Any] = list(record.headers)
    return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(record.key, record.value, headers))
