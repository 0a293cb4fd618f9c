"""Packs records into batches of the engine, and limits how many batches go into one request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import size_of_varint

from convex_messaging_fastapi.records import OutgoingRecord

REQUEST_BYTES = 48 * 1024 * 1024
"""The largest request in bytes, unless a single batch is larger. A broker closes the connection on a request
above its `socket.request.max.bytes`, 100 MiB by default, and the engine would send the same one again."""

_NO_CODEC = 0
_BATCH_HEADER = 61
_SMALL_FIELDS = 3
"""The bytes of attributes, time delta and offset delta, one each in a batch of one record."""


class Batch(BatchBuilder):  # type: ignore[misc]
    """A batch that knows how often it was sent, and the sequence number of its first record."""

    attempts: int = 0
    first_number: int | None = None

    def _build(self) -> Any:
        self.attempts += 1
        return super()._build()

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self.first_number = base_sequence
        super()._set_producer_state(producer_id, producer_epoch, base_sequence)

    def as_sent(self, producer: Producer, first_number: int) -> bytes:
        """Its bytes, as written by this producer; the same each time."""
        if self._buffer is None:
            self._set_producer_state(producer.id, producer.epoch, first_number)
        return bytes(self._build())


class Producer(NamedTuple):
    """Whose records they are: brokers refuse those of an older epoch."""

    id: int
    epoch: int


class Pack(NamedTuple):
    """Leading records, packed into one batch."""

    batch: Batch
    taken: int
    size: int


def pack(
    records: Sequence[OutgoingRecord], timestamp_ms: int, limit: int, *, in_transaction: bool = False
) -> Pack:
    """As many leading records as fit `limit` bytes, and always the first."""
    batch = Batch(limit, _NO_CODEC, is_transactional=in_transaction)
    # Not `batch.append`, which takes half as long again for checks that cannot fail here.
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
    """The bytes of a batch with this record alone."""
    key, value, headers = record
    size = _SMALL_FIELDS + int(DefaultRecordBatchBuilder.size_of(key, value, list(headers)))
    return _BATCH_HEADER + int(size_of_varint(size)) + size


class Accumulator(MessageAccumulator):  # type: ignore[misc]
    """The engine's accumulator; batches that would make a request too large wait for the next one."""

    def drain_by_nodes(self, ignore_nodes: Any, muted_partitions: Set[Any] = frozenset()) -> Any:
        if len(self._batches) > 1 and (later := self._for_a_later_request(muted_partitions)):
            muted_partitions = muted_partitions | later
        return super().drain_by_nodes(ignore_nodes, muted_partitions)

    def _for_a_later_request(self, muted_partitions: Set[Any]) -> set[Any]:
        later: set[Any] = set()
        bytes_for: dict[Any, int] = defaultdict(int)
        for partition, batches in self._batches.items():
            if partition in muted_partitions or not batches:
                continue
            leader, size = self._cluster.leader_for_partition(partition), batches[0]._builder.size()
            if bytes_for[leader] and bytes_for[leader] + size > REQUEST_BYTES:
                later.add(partition)
            else:
                bytes_for[leader] += size
        return later
