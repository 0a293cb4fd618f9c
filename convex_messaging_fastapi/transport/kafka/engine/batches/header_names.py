"""Mends batches with header names that are not UTF-8, which the engine cannot read.

Kafka takes any bytes as the name of a header; the engine raises, and would never get past such a batch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from aiokafka.record.util import calc_crc32c

from convex_messaging_fastapi.transport.kafka.engine.batches.unpacking import unpacked

_LENGTH_AT, _MAGIC_AT, _CRC_AT, _ATTRIBUTES_AT, _COUNT_AT, _RECORDS_AT = 8, 16, 17, 21, 57, 61
_LENGTH_ENDS = 12
_WITH_HEADERS = 2
_CODEC, _CONTROL = 0x07, 0x20
_LONGEST_NUMBER = 63
_REPLACEMENT = "?"


def is_of_a_name(error: BaseException) -> bool:
    """Whether the engine could not read a record because of a header's name; all other fields are bytes."""
    return isinstance(error, UnicodeDecodeError) or isinstance(error.__cause__, UnicodeDecodeError)


def readable(fetched: bytes) -> bytes:
    """The same batches, with a question mark for every byte of a name that is not UTF-8."""
    return b"".join(_readable(batch) for batch in _batches(fetched))


def _batches(fetched: bytes) -> Iterator[bytes]:
    """Each batch; the last one may be incomplete, because brokers cut off what is too large."""
    at = 0
    while at < len(fetched):
        rest = len(fetched) - at
        length = struct.unpack_from(">i", fetched, at + _LENGTH_AT)[0] if rest >= _LENGTH_ENDS else rest
        end = min(at + _LENGTH_ENDS + max(length, 0), len(fetched))
        yield bytes(fetched[at:end])
        at = end


def _readable(batch: bytes) -> bytes:
    if not _is_whole(batch):
        return batch  # damaged or old: the engine says what is wrong with it
    (attributes,) = struct.unpack_from(">h", batch, _ATTRIBUTES_AT)
    if attributes & _CONTROL:
        return batch
    (count,) = struct.unpack_from(">i", batch, _COUNT_AT)
    try:
        records = bytearray(unpacked(attributes & _CODEC, batch[_RECORDS_AT:]))
        mended = _mend(records, count)
    except Exception:  # noqa: BLE001 - as above, and decompression may raise anything at all
        return batch
    return _rebuilt(batch, attributes & ~_CODEC, records) if mended else batch


def _is_whole(batch: bytes) -> bool:
    if len(batch) < _RECORDS_AT or batch[_MAGIC_AT] < _WITH_HEADERS:
        return False
    (length,) = struct.unpack_from(">i", batch, _LENGTH_AT)
    (crc,) = struct.unpack_from(">I", batch, _CRC_AT)
    return len(batch) == _LENGTH_ENDS + length and bool(calc_crc32c(batch[_ATTRIBUTES_AT:]) == crc)


def _rebuilt(batch: bytes, attributes: int, records: bytearray) -> bytes:
    """The same batch with other records, uncompressed."""
    whole = bytearray(batch[:_RECORDS_AT]) + records
    struct.pack_into(">i", whole, _LENGTH_AT, len(whole) - _LENGTH_ENDS)
    struct.pack_into(">h", whole, _ATTRIBUTES_AT, attributes)
    struct.pack_into(">I", whole, _CRC_AT, calc_crc32c(bytes(whole[_ATTRIBUTES_AT:])))
    return bytes(whole)


def _mend(records: bytearray, count: int) -> bool:
    """Replace bytes that are not UTF-8, one for one; returns whether there were any."""
    mended = False
    for start, end in list(_names(records, count)):
        name = bytes(records[start:end])
        if (better := _replaced(name)) != name:
            records[start:end] = better
            mended = True
    return mended


def _replaced(name: bytes) -> bytes:
    # A byte that is not UTF-8 becomes a lone surrogate, which no UTF-8 text has.
    escaped = name.decode("utf-8", "surrogateescape")
    return "".join(_REPLACEMENT if "\ud800" <= char <= "\udfff" else char for char in escaped).encode()


def _names(records: bytearray, count: int) -> Iterator[tuple[int, int]]:
    """The beginning and end of each header name."""
    at = 0
    for _ in range(count):
        length, at = _varint(records, at)
        end = at + length
        if end <= at:
            raise ValueError(f"a record of {length} bytes")
        at += 1  # attributes
        for _ in ("timestamp", "offset"):
            _, at = _varint(records, at)
        for _ in ("key", "value"):
            _, at = _field(records, at)
        headers, at = _varint(records, at)
        for _ in range(headers):
            name_at, at = _field(records, at)
            yield name_at, at
            _, at = _field(records, at)
        at = end


def _field(records: bytearray, at: int) -> tuple[int, int]:
    """The beginning and end of a field; null counts as empty."""
    length, at = _varint(records, at)
    return at, at + max(length, 0)


def _varint(records: bytearray, at: int) -> tuple[int, int]:
    """A number and where it ends. The engine's own function reads beyond the end of the buffer."""
    value = shift = 0
    while (byte := records[at]) & 0x80:
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if shift > _LONGEST_NUMBER:
            raise ValueError("a number without an end")
    value |= byte << shift
    return (value >> 1) ^ -(value & 1), at + 1
