"""Refuses batches that would unpack to more than a limit, before their memory is taken.

A broker's limits count compressed bytes, of which 30,000 may unpack to 1,000 million, and the engine
unpacks a batch whole.
"""

from __future__ import annotations

import gzip
import importlib
import inspect
import io
import mmap
import struct
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import ModuleType
from typing import Any, NamedTuple

from aiokafka import codec
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from convex_messaging_fastapi.transport.kafka.engine.batches.message_sets import walked

_MODULES = (
    "aiokafka.record.default_records",
    "aiokafka.record.legacy_records",
    "aiokafka.record._crecords.default_records",
    "aiokafka.record._crecords.legacy_records",
)
"""The modules in which the engine unpacks; the last two are compiled, and may be missing."""

_OF_OLD_FORMATS = "legacy_records"

_Decoder = Callable[[bytes], bytes]

_PIECE = 8 * 1024 * 1024

_limit: ContextVar[int | None] = ContextVar("unpacked bytes at most", default=None)


class UnpacksTooLarge(Exception):
    """A batch is small enough for its topic, but unpacks to more than this process takes."""

    def __init__(self, packed: int, limit: int) -> None:
        super().__init__(f"a batch of {packed} compressed bytes unpacks to more than {limit}")


class Span(NamedTuple):
    """The offsets of one batch: its first, if known, and the first offset after it."""

    first: int | None
    end: int


@contextmanager
def unpacking_at_most(limit: int) -> Iterator[None]:
    """Inside, the engine raises `UnpacksTooLarge` for batches that unpack to more than `limit` bytes.

    Other users of aiokafka in this process have no limit.
    """
    before = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(before)


def unpacked(number: int, payload: bytes) -> bytes:
    """`payload` unpacked by codec `number` of the protocol, within the limit in force."""
    return _DECODERS[number](payload)


def span_of(error: BaseException) -> Span | None:
    """The batch that the engine was reading when it raised `error`; `None` if it was reading none."""
    # No attribute of the engine tells it, and noting it before each batch would cost every batch.
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is PartitionRecords._unpack_records.__code__:
            batch = frame.f_locals.get("next_batch")
            return None if batch is None else Span(getattr(batch, "base_offset", None), batch.next_offset)
    return None


# Each codec.


def _gzip(packed: bytes, limit: int) -> bytes:
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    pieces, size, left = list[bytes](), 0, packed
    while not member.eof and size <= limit:
        # In pieces, so that a batch that is refused is never joined.
        piece = member.decompress(left, _PIECE)
        if not piece and not left:
            break
        pieces.append(piece)
        size, left = size + len(piece), member.unconsumed_tail
    if size <= limit:
        if member.eof and not member.unused_data:
            return b"".join(pieces)
        # Several gzip members, or an incomplete one: left to the standard library.
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(limit + 1)
        if len(unpacked) <= limit:
            return unpacked
    raise UnpacksTooLarge(len(packed), limit)


def _snappy(packed: bytes, limit: int) -> bytes:
    # The codec allocates what a block claims to unpack to, even if the claim is false.
    if sum(_snappy_lengths(packed)) > limit:
        raise UnpacksTooLarge(len(packed), limit)
    unpacked: bytes = codec.snappy_decode(packed)
    return unpacked


def _lz4(packed: bytes, limit: int) -> bytes:
    if _within(_lz4_blocks(packed), limit):
        unpacked: bytes = codec.lz4_decode(packed)
        return unpacked
    import cramjam

    return _into_room(cramjam.lz4.decompress_into, packed, limit)


def _zstd(packed: bytes, limit: int) -> bytes:
    if _within(_zstd_blocks(packed), limit):
        unpacked: bytes = codec.zstd_decode(packed)
        return unpacked
    import cramjam

    return _into_room(cramjam.zstd.decompress_into, packed, limit)


def _within(blocks: Iterator[int], limit: int) -> bool:
    """Whether blocks of at most these sizes certainly stay within the limit."""
    total = 0
    try:
        for size in blocks:
            total += size
            if total > limit:
                return False
    except (struct.error, IndexError):
        return False
    return True


def _into_room(unpack: Callable[[bytes, Any], int], packed: bytes, limit: int) -> bytes:
    """Unpack into memory that ends at the limit and is allocated page by page as it is written."""
    with mmap.mmap(-1, max(limit, 1)) as room:
        try:
            size = unpack(packed, room)
        except Exception as error:
            if _NO_ROOM in str(error):
                raise UnpacksTooLarge(len(packed), limit) from None
            raise
        if size > limit:
            raise UnpacksTooLarge(len(packed), limit)
        return room[:size]


_NO_ROOM = "failed to write whole buffer"

_XERIAL = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)


def _snappy_lengths(packed: bytes) -> Iterator[int]:
    import cramjam

    if not (packed.startswith(_XERIAL) and len(packed) > len(_XERIAL)):
        yield cramjam.snappy.decompress_raw_len(packed)
        return
    at = len(_XERIAL)
    while at < len(packed):
        (size,) = struct.unpack_from(">i", packed, at)
        if size < 0:
            # The engine would move backwards by it, and read the same block for ever.
            raise ValueError(f"a block of {size} bytes")
        at += 4
        yield cramjam.snappy.decompress_raw_len(packed[at : at + size])
        at += size


# The most that a frame can unpack to, by the sizes of its blocks, without unpacking one.

_LZ4_FRAME, _ZSTD_FRAME = 0x184D2204, 0xFD2FB528
_SKIPPED, _SKIPPED_MASK = 0x184D2A50, 0xFFFFFFF0
_ZSTD_BLOCK = 128 * 1024
_ZSTD_SIZE_BYTES, _ZSTD_DICTIONARY_BYTES = (0, 2, 4, 8), (0, 1, 2, 4)
_REPEATED_BYTE, _COMPRESSED_BLOCK = 1, 2


def _frame_from(at: int, packed: bytes, wanted: int) -> int:
    """Where the next frame begins, after skippable ones; the end or beyond if there is none."""
    while at < len(packed):
        (magic,) = struct.unpack_from("<I", packed, at)
        if magic & _SKIPPED_MASK != _SKIPPED:
            if magic != wanted:
                raise IndexError("no frame that is known")
            return at
        at += 8 + struct.unpack_from("<I", packed, at + 4)[0]
    return at


def _lz4_blocks(packed: bytes) -> Iterator[int]:
    at = _frame_from(0, packed, _LZ4_FRAME)
    while at < len(packed):
        flags, described = packed[at + 4], packed[at + 5]
        if flags >> 6 != 1:
            raise IndexError("no frame that is known")
        largest = 1 << (8 + 2 * (described >> 4 & 7))
        at += 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)
        while size := struct.unpack_from("<I", packed, at)[0] & 0x7FFFFFFF:
            yield largest
            at += 4 + size + 4 * (flags >> 4 & 1)
        at = _frame_from(at + 4 + 4 * (flags >> 2 & 1), packed, _LZ4_FRAME)


def _zstd_blocks(packed: bytes) -> Iterator[int]:
    at = _frame_from(0, packed, _ZSTD_FRAME)
    while at < len(packed):
        flags = packed[at + 4]
        single = flags >> 5 & 1
        size_bytes = _ZSTD_SIZE_BYTES[flags >> 6] or single
        at += 5 + (1 - single) + _ZSTD_DICTIONARY_BYTES[flags & 3] + size_bytes
        last = False
        while not last:
            low, high = struct.unpack_from("<BH", packed, at)
            last, kind, size = low & 1 == 1, low >> 1 & 3, low >> 3 | high << 5
            yield _ZSTD_BLOCK if kind == _COMPRESSED_BLOCK else size
            at += 3 + (1 if kind == _REPEATED_BYTE else size)
        at = _frame_from(at + 4 * (flags >> 2 & 1), packed, _ZSTD_FRAME)


# The changes of the engine.

_BOUNDED: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _lz4,
    "zstd_decode": _zstd,
}


def _asking(theirs: _Decoder, ours: Callable[[bytes, int], bytes], then: _Decoder = bytes) -> _Decoder:
    """`theirs` if no limit is in force, else `ours` and then `then`."""

    @wraps(theirs)
    def decode(payload: bytes) -> bytes:
        limit = _limit.get()
        return theirs(payload) if limit is None else then(ours(payload, limit))

    return decode


_DECODERS: dict[int, _Decoder] = {
    0: bytes,
    **{
        number: _asking(getattr(codec, name), ours) for number, (name, ours) in enumerate(_BOUNDED.items(), 1)
    },
}


def bound_unpacking() -> None:
    """Replace the engine's decoders by ones that respect the limit."""
    for module in _modules():
        # In the old formats the payload is a message set again, which the engine does not check.
        then = walked if module.__name__.endswith(_OF_OLD_FORMATS) else bytes
        for name, ours in _BOUNDED.items():
            theirs = getattr(module, name, None)
            if theirs is not None:
                # Unwrapped, in case this module is imported a second time: the first has another limit.
                setattr(module, name, _asking(inspect.unwrap(theirs), ours, then))


def unbounded() -> list[str]:
    """The codecs with which the installed engine ignores the limit, tried with a batch of each."""
    usable = {1: True, 2: codec.has_snappy(), 3: codec.has_lz4(), 4: codec.has_zstd()}
    return [name for number, name in enumerate(_BOUNDED, 1) if usable[number] and not _refuses(number)]


def _refuses(number: int) -> bool:
    builder = DefaultRecordBatchBuilder(2, number, 0, -1, -1, 0, 1000)
    builder.append(0, 0, None, bytes(100), [])
    try:
        with unpacking_at_most(10):
            list(DefaultRecordBatch(bytes(builder.build())))
    except UnpacksTooLarge:
        return True
    return False


def _modules() -> Iterator[ModuleType]:
    for name in _MODULES:
        try:
            yield importlib.import_module(name)
        except ImportError:
            if "._crecords" not in name:
                raise
