"""Batches that no client of Python would make: headers whose names are any bytes, and bombs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cramjam
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c, encode_varint

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


_CONTROL, _TRANSACTIONAL = 0x20, 0x10


def emptied(first: int, last: int, *, control: bool = False, producer: int = -1) -> bytes:
    """What the cleaner leaves of a batch of these offsets when none of its records stays."""
    attributes = (_CONTROL if control else 0) | (_TRANSACTIONAL if producer >= 0 else 0)
    header = struct.pack(">hiqqqhii", attributes, last - first, -1, -1, producer, 0, 0, 0)
    return _headed(first, header)


def marker(offset: int, producer: int, *, abort: bool, version: int = 0) -> bytes:
    """The end of a transaction."""
    key, value = struct.pack(">hh", version, 0 if abort else 1), struct.pack(">hi", 0, 0)
    fields = bytes(3) + _number(len(key)) + key + _number(len(value)) + value + _number(0)
    header = struct.pack(">hiqqqhii", _CONTROL | _TRANSACTIONAL, 0, 1000, 1000, producer, 0, -1, 1)
    return _headed(offset, header + _number(len(fields)) + fields)


def in_transaction(first: int, producer: int, *values: bytes) -> bytes:
    """Records of a transaction, from that offset on."""
    made = bytearray(batch(*[(value, []) for value in values]))
    struct.pack_into(">q", made, 0, first)
    struct.pack_into(">h", made, 21, _TRANSACTIONAL)
    struct.pack_into(">qh", made, 43, producer, 0)
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
    return bytes(made)


def _headed(first: int, rest: bytes) -> bytes:
    """A batch of magic 2 whose first offset is this, of what its checksum is of."""
    return struct.pack(">qiibI", first, len(rest) + 9, 0, 2, calc_crc32c(rest)) + rest


def sendable(
    key: bytes | None, value: bytes | None, headers: list[tuple[bytes, bytes | None]]
) -> BatchBuilder:
    """One record, for `AIOKafkaProducer.send_batch`."""
    made = BatchBuilder(_ROOM, 0)
    made._builder = _builder(0)
    made.append(timestamp=None, key=key, value=value, headers=[(_Name(name), v) for name, v in headers])
    made.close()
    return made


GZIP, ZSTD = 1, 4
_PIECE = 2**20


def bomb(mebibytes: int, codec: int, records: int = 1) -> BatchBuilder:
    """Records of so many zeros, for `AIOKafkaProducer.send_batch`; they never stand in memory together."""
    made = BatchBuilder(_ROOM, 0)
    header = bytearray(batch(*[(b"", list[tuple[bytes, bytes | None]]())] * records)[:61])
    made._buffer = _sealed(header, codec, records, _packed(_zeros(mebibytes, records), codec))
    made._relative_offset = records
    made.close()
    return made


def _zeros(mebibytes: int, records: int) -> Iterator[bytes]:
    value = mebibytes * _PIECE
    for record in range(records):
        before = bytes(2) + _number(record) + _number(-1) + _number(value)  # attributes, both deltas; no key
        yield _number(len(before) + value + 1) + before
        for _ in range(mebibytes):
            yield bytes(_PIECE)
        yield _number(0)  # headers


def _number(value: int) -> bytes:
    encoded = bytearray()
    encode_varint(value, encoded.append)
    return bytes(encoded)


def _packed(pieces: Iterator[bytes], codec: int) -> bytes:
    if codec == GZIP:
        gzip = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        return b"".join(map(gzip.compress, pieces)) + gzip.flush()
    zstd = cramjam.zstd.Compressor()
    for piece in pieces:
        zstd.compress(piece)
    return bytes(zstd.finish())


def _sealed(header: bytearray, codec: int, count: int, records: bytes) -> bytes:
    whole = header + records
    struct.pack_into(">i", whole, 8, len(whole) - 12)
    struct.pack_into(">h", whole, 21, codec)
    struct.pack_into(">i", whole, 57, count)
    struct.pack_into(">I", whole, 17, calc_crc32c(bytes(whole[21:])))
    return bytes(whole)


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
