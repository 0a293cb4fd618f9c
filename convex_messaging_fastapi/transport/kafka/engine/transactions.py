"""Transactions under one id, a request at a time.

The engine's own transactional producer sends nothing when it aborts after an error, and its next commit
makes visible what was aborted. So these requests are ours; each call here is one attempt.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition as EnginePartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    GroupCoordinatorNotAvailableError,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    NotCoordinatorForGroupError,
    OperationNotAttempted,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest

from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.kafka.engine.batches import Pack, Producer, pack
from convex_messaging_fastapi.transport.kafka.engine.codes import for_code
from convex_messaging_fastapi.transport.kafka.engine.connections import Client

_NOBODY = Producer(-1, -1)
_ALL_IN_SYNC = -1
_MOVED = (NotCoordinatorForGroupError, GroupCoordinatorNotAvailableError)


class Numbered(NamedTuple):
    """A batch for one partition, as it is sent, once or again: a broker takes each number once."""

    taken: int
    size: int
    bytes: bytes


class Transactions:
    """Raises `KafkaError`; what `may_pass` says of one tells whether the same attempt may be made again."""

    def __init__(self, client: Client, id: str, timeout_ms: int) -> None:
        self._client, self._id, self._timeout_ms = client, id, timeout_ms
        self._coordinator: Any = None
        self._producer = _NOBODY
        self._numbers: dict[TopicPartition, int] = defaultdict(int)
        self._added: set[TopicPartition] = set()

    async def connect(self) -> None:
        await self._client.bootstrap()

    async def close(self) -> None:
        await self._client.close()

    async def claim(self) -> None:
        """Take the id: whoever had it is fenced, and what he left open is aborted."""
        answer = await self._ask(InitProducerIdRequest(self._id, self._timeout_ms))
        self._raise(answer.error_code)
        self._producer = Producer(answer.producer_id, answer.producer_epoch)

    async def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Tell the coordinator what is going to be written to, which begins the transaction."""
        by_topic: dict[str, list[int]] = defaultdict(list)
        for topic, partition in sorted(set(partitions) - self._added):
            by_topic[topic].append(partition)
        if not by_topic:
            return
        request = AddPartitionsToTxnRequest(self._id, *self._producer, list(by_topic.items()))
        answer = await self._ask(request)
        codes = [(topic, code) for topic, errors in answer.errors for _, code in errors]
        # What was not tried is told beside the one that is the reason.
        for topic, code in sorted(codes, key=lambda told: for_code(told[1]) is OperationNotAttempted):
            self._raise(code, topic)
        self._added |= {TopicPartition(topic, part) for topic, parts in by_topic.items() for part in parts}

    def number(
        self, where: TopicPartition, records: Sequence[OutgoingRecord], timestamp_ms: int, limit: int
    ) -> Numbered:
        """As many leading records as fit `limit` bytes, and always the first."""
        packed: Pack = pack(records, timestamp_ms, limit, in_transaction=True)
        return Numbered(packed.taken, packed.size, packed.batch.as_sent(self._producer, self._numbers[where]))

    async def produce(
        self, batches: Mapping[TopicPartition, Numbered]
    ) -> Mapping[TopicPartition, int | KafkaError]:
        """Of each partition, at which offset its batch begins, or why it is not known to be written."""
        by_leader: dict[Any, list[TopicPartition]] = defaultdict(list)
        for where in batches:
            by_leader[self._client.cluster.leader_for_partition(EnginePartition(*where))].append(where)
        told: dict[TopicPartition, int | KafkaError] = {}
        for answers in await asyncio.gather(
            *(
                self._send(leader, {where: batches[where] for where in led})
                for leader, led in by_leader.items()
            )
        ):
            told |= answers
        for where, answer in told.items():
            if isinstance(answer, int):
                self._numbers[where] += batches[where].taken
        if any(getattr(answer, "invalid_metadata", False) for answer in told.values()):
            await self._client.force_metadata_update()
        return told

    async def end(self, *, commit: bool) -> None:
        """Commit or abort; the partitions must be told again for the next one."""
        answer = await self._ask(EndTxnRequest(self._id, *self._producer, commit))
        self._raise(answer.error_code)
        self._added.clear()

    async def follow(self, topics: Iterable[str]) -> None:
        """Learn where the partitions of these topics are."""
        for topic in topics:
            if not self._client.partitions(topic):
                answer = await self._client.ask(topic)
                if not answer.exists:
                    raise answer.error(topic)
                await self._client.follow(topic)

    async def _send(
        self, leader: Any, batches: Mapping[TopicPartition, Numbered]
    ) -> dict[TopicPartition, int | KafkaError]:
        if leader in (None, -1):
            return {where: LeaderNotAvailableError() for where in batches}
        topics: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for (topic, partition), batch in batches.items():
            topics[topic].append((partition, batch.bytes))
        request = ProduceRequest(self._id, _ALL_IN_SYNC, self._timeout_ms, list(topics.items()))
        try:
            answer = await self._client.send(leader, request)
        except KafkaError as error:
            return dict.fromkeys(batches, error)
        return {
            TopicPartition(topic, partition): offset if for_code(code) is NoError else for_code(code)(topic)
            for topic, partitions in answer.topics
            for partition, code, offset, *_ in partitions
        }

    async def _ask(self, request: Any) -> Any:
        """An answer of the coordinator, which is looked for again once it has moved."""
        try:
            if self._coordinator is None:
                self._coordinator = await self._client.coordinator_lookup(
                    CoordinationType.TRANSACTION, self._id
                )
            return await self._client.send(self._coordinator, request, group=ConnectionGroup.COORDINATION)
        except KafkaError:
            self._coordinator = None
            raise

    def _raise(self, code: int, *about: str) -> None:
        error = for_code(code)
        if error in _MOVED:
            self._coordinator = None
        if error is not NoError:
            raise error(*about)


def may_pass(error: KafkaError) -> bool:
    """Whether the same attempt may succeed soon."""
    return bool(error.retriable) or isinstance(error, ConcurrentTransactions | OperationNotAttempted)
