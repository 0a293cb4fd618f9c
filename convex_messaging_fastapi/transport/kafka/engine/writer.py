"""One idempotent producer of the engine, fed with whole batches."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as EnginePartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import (
    BrokerResponseError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    ProducerClosed,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import RecordMetadata

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.engine.batches import Accumulator, Batch
from convex_messaging_fastapi.transport.kafka.engine.codes import for_code
from convex_messaging_fastapi.transport.kafka.engine.connections import (
    Client,
    TopicAnswer,
    TopicId,
    end,
    failure_of,
)

_IN_PLAIN_WORDS = {
    NotEnoughReplicasError: "fewer replicas are in sync than min.insync.replicas of the topic asks for",
    NotEnoughReplicasAfterAppendError: "it was appended, and then fewer replicas were in sync than "
    "min.insync.replicas of the topic asks for",
}


class ProducingClient(Client):
    """Remembers why brokers did not take what was sent, for the engine sends it again in silence."""

    complaints: dict[TopicPartition, type[BrokerResponseError]]
    throttled_until: float = 0.0

    @classmethod
    def adopt(cls, client: AIOKafkaClient, *, anywhere: bool = False) -> Self:
        adopted = super().adopt(client, anywhere=anywhere)
        adopted.complaints = {}
        return adopted

    async def send(
        self, node_id: Any, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT
    ) -> Any:
        answer = await super().send(node_id, request, group=group)
        if isinstance(request, ProduceRequest):
            self._hear(answer)
        return answer

    def _hear(self, answer: Any) -> None:
        if throttled := getattr(answer, "throttle_time_ms", 0):
            self.throttled_until = time.monotonic() + throttled / 1000
        for topic, partitions in answer.topics:
            for partition, code, *_ in partitions:
                # What is not sent again has an outcome already, that tells why.
                if code and for_code(code).retriable:
                    self.complaints[TopicPartition(topic, partition)] = for_code(code)
                elif self.complaints:
                    self.complaints.pop(TopicPartition(topic, partition), None)


class Writer:
    def __init__(self, *, anywhere: bool = False, **options: Any) -> None:
        self._producer = AIOKafkaProducer(enable_idempotence=True, linger_ms=0, **options)
        self.client: ProducingClient = ProducingClient.adopt(self._producer.client, anywhere=anywhere)
        self._producer._message_accumulator.__class__ = Accumulator

    async def start(self) -> None:
        with self.client.ours():
            await self._producer.start()

    async def stop(self, clock: Clock, deadline: float) -> None:
        """Wait for what is under way, close everything, by `deadline` even if no broker answers.

        Batches without an answer by then end with `ProducerClosed`.
        """
        with self.client.ours():
            if not await end(clock, deadline, self._producer.stop(), [self._sender_task], self.client):
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
        return failure_of("sending", self._sender_task) or failure_of("metadata", self.client.metadata_task)

    def reconnect(self) -> None:
        self.client.close_connections()

    def needs_metadata(self) -> bool:
        """A producer asks for itself when it wants to know a topic."""
        return False

    def partitions(self, topic: str) -> int:
        return self.client.partitions(topic)

    async def ask(self, topic: str) -> TopicAnswer:
        return await self.client.ask(topic)

    async def follow(self, topic: str) -> None:
        await self.client.follow(topic)

    def identity(self, topic: str) -> TopicId | None:
        """Which topic the name stands for now; `None` where no broker tells ids."""
        return self.client.topic_ids.of(topic)

    def complaint(self, where: TopicPartition) -> str:
        """Why what was last sent there is not taken yet; empty where no broker has said so."""
        if (error := self.client.complaints.get(where)) is not None:
            return f"{error.__name__}: {_IN_PLAIN_WORDS.get(error, error.description)}"
        if (left := self.client.throttled_until - time.monotonic()) > 0:
            return f"a quota of the cluster holds this client back, for {left:.1f} s more"
        return ""

    async def submit(self, batch: Batch, where: TopicPartition) -> asyncio.Future[RecordMetadata]:
        """Hand a batch over; the future tells its fate, and may be dropped without harm.

        The topic's partitions must be known. Raises `KafkaError` when nothing was handed over.
        """
        # While metadata is known, this waits only for an older batch of the partition, and that
        # wait ends when the producer is stopped.
        with self.client.ours():
            future: asyncio.Future[RecordMetadata] = await self._producer.send_batch(
                batch, where.topic, partition=where.partition
            )
        return future

    def submit_now(self, batch: Batch, where: TopicPartition) -> asyncio.Future[RecordMetadata] | None:
        """As `submit`, but at once or, when an older batch of the partition still waits, not at all.

        The future is the engine's own: it must not be cancelled.
        """
        accumulator = self._producer._message_accumulator
        partition = EnginePartition(*where)
        if accumulator._closed or accumulator._exception is not None or accumulator._batches.get(partition):
            return None
        future: asyncio.Future[RecordMetadata] = accumulator._append_batch(batch, partition).future
        return future

    def take_back(self, batch: Batch, where: TopicPartition) -> bool:
        """Give the numbers of a batch that was refused, certainly unwritten, to what is sent there next.

        `False` where that is not safe: then the partition takes nothing more from this producer. It
        is safe while the broker has seen the batch once, and nothing numbered after it. Of one that was
        sent twice the first may be in the log, and what came next under its numbers would be taken
        for its repetition: acknowledged, and dropped.
        """
        numbers, partition = self._producer._txn_manager, EnginePartition(*where)
        first = batch.first_number
        if first is None or batch.attempts != 1:
            return False
        if numbers.sequence_number(partition) != first + batch.record_count():
            return False
        numbers._sequence_numbers[partition] = first
        return True

    @property
    def _sender_task(self) -> asyncio.Task[None] | None:
        task: asyncio.Task[None] | None = self._producer._sender.sender_task
        return task


class _Forgiving(set[Any]):
    """Removes what is not there without a word."""

    remove = set.discard
