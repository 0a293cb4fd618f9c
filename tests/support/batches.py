"""Batches that no client of Python would make: headers whose names are any bytes."""

from __future__ import annotations

from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

_ROOM = 10_000_000


class _Name(str):
    """A header's name that is written as other bytes."""

    raw: bytes

    def __new__(cls, raw: bytes) -> _Name:
        name = super().__new__(cls, raw.decode("utf-8", "replace"))
        name.raw = raw
        return name

    def encode(self, *_: Any) -> bytes:
        return self.raw


def batch(*records: tuple[bytes | None, list[tuple[bytes, bytes | None]]], codec: int = 0) -> bytes:
    """A batch as a broker has it, of records with a value and headers."""
    builder = _builder(codec)
    for offset, (value, headers) in enumerate(records):
        builder.append(offset, 1000 + offset, b"k", value, [(_Name(name), v) for name, v in headers])
    return bytes(builder.build())


def sendable(
    key: bytes | None, value: bytes | None, headers: list[tuple[bytes, bytes | None]]
) -> BatchBuilder:
    """One record, for `AIOKafkaProducer.send_batch`."""
    made = BatchBuilder(_ROOM, 0)
    made._builder = _builder(0)
    made.append(timestamp=None, key=key, value=value, headers=[(_Name(name), v) for name, v in headers])
    made.close()
    return made


def _builder(codec: int) -> _DefaultRecordBatchBuilderPy:
    return _DefaultRecordBatchBuilderPy(
        2,
        codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=_ROOM,
    )
