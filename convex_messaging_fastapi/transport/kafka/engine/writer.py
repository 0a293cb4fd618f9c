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
    """Remembers why brokers refused a batch: the engine sends it again and does not tell."""

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
                # A batch that is not sent again has an outcome, which tells why.
                if code and for_code(code).retriable:
                    self.complaints[TopicPartition(topic, partition)] = for_code(code)
                elif self.complaints:
                    self.complaints.pop(TopicPartition(topic, partition), None)


class Writer:
    """A producer that takes whole batches, and tells what became of each."""

    def __init__(self, *, anywhere: bool = False, **options: Any) -> None:
        self._producer = AIOKafkaProducer(enable_idempotence=True, linger_ms=0, **options)
        self.client: ProducingClient = ProducingClient.adopt(self._producer.client, anywhere=anywhere)
        self._producer._message_accumulator.__class__ = Accumulator

    async def start(self) -> None:
        with self.client.ours():
            await self._producer.start()

    async def stop(self, clock: Clock, deadline: float) -> None:
        """Wait for batches under way, and close everything by `deadline`, even if no broker answers.

        Batches without an answer by then end with `ProducerClosed`.
        """
        with self.client.ours():
            if not await end(clock, deadline, self._producer.stop(), [self._sender_task], self.client):
                self._give_up_batches()

    def _give_up_batches(self) -> None:
        accumulator = self._producer._message_accumulator
        queued = [batch for queue in accumulator._batches.values() for batch in queue]
        # The engine removes a batch that waits to be sent again twice, and the second time would raise.
        accumulator._pending_batches = _Forgiving(accumulator._pending_batches)
        accumulator.fail_all(ProducerClosed())
        for batch in queued:
            # Nobody waits for this future; unless it is looked at, asyncio logs its error as forgotten.
            batch._drain_waiter.exception()

    def failure(self) -> str | None:
        """Which part of the engine has died, and why; it never comes back by itself."""
        return failure_of("sending", self._sender_task) or failure_of("metadata", self.client.metadata_task)

    def reconnect(self) -> None:
        self.client.close_connections()

    def needs_metadata(self) -> bool:
        """No: a producer requests the metadata of a topic by itself."""
        return False

    def partitions(self, topic: str) -> int:
        return self.client.partitions(topic)

    async def ask(self, topic: str) -> TopicAnswer:
        return await self.client.ask(topic)

    async def follow(self, topic: str) -> None:
        await self.client.follow(topic)

    def identity(self, topic: str) -> TopicId | None:
        """The id of the topic that has this name now; `None` if no broker tells ids."""
        return self.client.topic_ids.of(topic)

    def complaint(self, where: TopicPartition) -> str:
        """Why the batch last sent there is not written yet; empty if no broker has given a reason."""
        if (error := self.client.complaints.get(where)) is not None:
            return f"{error.__name__}: {_IN_PLAIN_WORDS.get(error, error.description)}"
        if (left := self.client.throttled_until - time.monotonic()) > 0:
            return f"a quota of the cluster holds this client back, for {left:.1f} s more"
        return ""

    async def submit(self, batch: Batch, where: TopicPartition) -> asyncio.Future[RecordMetadata]:
        """Hand a batch over; the future tells what became of it, and may be dropped.

        The topic's partitions must be known. Raises `KafkaError` when nothing was handed over.
        """
        # With known metadata this waits only for an older batch of the partition, and no longer than until
        # the producer is stopped.
        with self.client.ours():
            future: asyncio.Future[RecordMetadata] = await self._producer.send_batch(
                batch, where.topic, partition=where.partition
            )
        return future

    def submit_now(self, batch: Batch, where: TopicPartition) -> asyncio.Future[RecordMetadata] | None:
        """As `submit`, but without waiting: `None` if an older batch of the partition still waits.

        The future is the engine's own, and must not be cancelled.
        """
        accumulator = self._producer._message_accumulator
        partition = EnginePartition(*where)
        if accumulator._closed or accumulator._exception is not None or accumulator._batches.get(partition):
            return None
        future: asyncio.Future[RecordMetadata] = accumulator._append_batch(batch, partition).future
        return future

    def take_back(self, batch: Batch, where: TopicPartition) -> bool:
        """Free the sequence numbers of a batch that was refused, certainly unwritten, for the next one.

        `False` if that is not safe: then the partition takes nothing more from this producer. It is safe if
        the broker has seen the batch once, and nothing with later numbers. A batch that was sent twice may be
        in the log, and the broker would take the next batch with its numbers for a repetition: acknowledged,
        and dropped.
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
    """A set whose `remove` does not raise for a member that is not there."""

    remove = set.discard
