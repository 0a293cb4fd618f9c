"""What a batch may unpack to has a limit, and what is within it comes through byte for byte."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import codec
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record import default_records, legacy_records
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.transport.kafka.engine import Span, patches, span_of
from convex_messaging_fastapi.transport.kafka.engine.batches import unpacking
from convex_messaging_fastapi.transport.kafka.engine.batches.unpacking import (
    UnpacksTooLarge,
    unpacked,
    unpacking_at_most,
)
from tests.support.batches import batch
from tests.support.examples import examples

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
ENCODERS: dict[int, Any] = {
    GZIP: codec.gzip_encode,
    SNAPPY: codec.snappy_encode,
    LZ4: codec.lz4_encode,
    ZSTD: codec.zstd_encode,
}
DECODERS: dict[int, Any] = {
    GZIP: codec.gzip_decode,
    SNAPPY: codec.snappy_decode,
    LZ4: codec.lz4_decode,
    ZSTD: codec.zstd_decode,
}
CODECS = pytest.mark.parametrize("number", [GZIP, SNAPPY, LZ4, ZSTD], ids=["gzip", "snappy", "lz4", "zstd"])
LIMIT = 300_000
MEBIBYTE = 2**20


def one_record(size: int, number: int) -> bytes:
    return batch((bytes(size), []), codec=number)


def legacy(size: int, number: int) -> bytes:
    builder = legacy_records.LegacyRecordBatchBuilder(1, number, 10 * MEBIBYTE)
    builder.append(0, 1000, None, bytes(size))
    return bytes(builder.build())


READERS: dict[str, Any] = {
    "compiled": default_records.DefaultRecordBatch,
    "Python": default_records._DefaultRecordBatchPy,
    "compiled, of old": legacy_records.LegacyRecordBatch,
    "Python, of old": legacy_records._LegacyRecordBatchPy,
}


def read(how: str, size: int, number: int) -> list[Any]:
    if "old" in how:
        return [record.value for record in READERS[how](legacy(size, number), 1)]
    return [record.value for record in READERS[how](one_record(size, number))]


@pytest.mark.parametrize("how", READERS)
def test_each_reader_of_the_engine_heeds_the_limit(how: str) -> None:
    for number in ENCODERS if "old" not in how else (GZIP, SNAPPY, LZ4):
        with unpacking_at_most(LIMIT):
            assert read(how, LIMIT - 100, number) == [bytes(LIMIT - 100)]
            with pytest.raises(
                UnpacksTooLarge, match=r"a batch of \d+ compressed bytes unpacks to more than 300"
            ):
                read(how, LIMIT, number)


def test_consumers_that_are_not_ours_have_no_limit() -> None:
    with unpacking_at_most(10):
        pass
    assert read("compiled", LIMIT, ZSTD) == [bytes(LIMIT)]


@CODECS
def test_what_is_within_the_limit_comes_through(number: int) -> None:
    for content in (b"\0", b'{"amount":100.00,"who":"ada"}\n'):
        for size in (1, 1000, 70_000, LIMIT - 1, LIMIT):
            plain = (content * (size // len(content) + 1))[:size]
            with unpacking_at_most(LIMIT):
                assert unpacked(number, ENCODERS[number](plain)) == plain


@CODECS
def test_what_is_over_the_limit_is_refused(number: int) -> None:
    for size in (LIMIT + 1, 2 * LIMIT, 20 * LIMIT):
        with unpacking_at_most(LIMIT), pytest.raises(UnpacksTooLarge):
            unpacked(number, ENCODERS[number](bytes(size)))


@CODECS
def test_parts_count_together(number: int) -> None:
    """Members of gzip, frames of lz4 and zstd, blocks of snappy: each is within the limit alone."""
    part = bytes(LIMIT // 3)
    packed = ENCODERS[number](part)
    again = packed[16:] if number == SNAPPY else packed
    with unpacking_at_most(LIMIT):
        assert unpacked(number, packed + again * 2) == part * 3
        with pytest.raises(UnpacksTooLarge):
            unpacked(number, packed + again * 3)


def test_frames_that_hold_nothing_are_passed() -> None:
    skipped = struct.pack("<II", 0x184D2A5F, 5) + b"notes"
    for number in (LZ4, ZSTD):
        with unpacking_at_most(LIMIT):
            packed = skipped + ENCODERS[number](bytes(LIMIT)) + skipped
            assert unpacked(number, packed) == bytes(LIMIT)


def test_snappy_without_a_frame_is_judged_by_what_it_claims() -> None:
    bare = bytes(codec.snappy_encode(bytes(LIMIT), xerial_compatible=False))
    with unpacking_at_most(LIMIT):
        assert unpacked(SNAPPY, bare) == bytes(LIMIT)
        with pytest.raises(UnpacksTooLarge):
            unpacked(SNAPPY, b"\xff\xff\xff\xff\x0f no such block")


def test_a_block_of_snappy_that_leads_backwards_is_refused() -> None:
    """Of the engine's own it would never come back."""
    for size in (-4, -1, -(2**31)):
        packed = codec.snappy_encode(b"x" * 100) + struct.pack(">i", size)
        with unpacking_at_most(LIMIT), pytest.raises(ValueError, match=f"a block of {size} bytes"):
            unpacked(SNAPPY, packed)


def test_a_frame_that_cannot_be_judged_from_outside_is_unpacked_up_to_the_limit() -> None:
    """Blocks of zstd far below their largest size, as flushing after each record makes them."""
    block = struct.pack("<I", 100 << 3)[:3] + b"x" * 100
    compressed = _zstd_block_of(b"y" * 5000)
    many = b"\x28\xb5\x2f\xfd" + b"\x00\x58" + (block + compressed) * 10 + b"\x01\0\0"
    expected = (b"x" * 100 + b"y" * 5000) * 10
    with unpacking_at_most(len(expected)):
        assert unpacked(ZSTD, many) == expected
    with unpacking_at_most(len(expected) - 1), pytest.raises(UnpacksTooLarge):
        unpacked(ZSTD, many)


def _zstd_block_of(plain: bytes) -> bytes:
    """The one block of a frame, marked as not the last."""
    frame: bytes = codec.zstd_encode(plain)
    start = frame.index(b"\x28\xb5\x2f\xfd") + 4
    flags = frame[start]
    at = start + 1 + (1 - (flags >> 5 & 1)) + ((1 if flags >> 5 & 1 else 0), 2, 4, 8)[flags >> 6]
    (low,) = frame[at : at + 1]
    size = int.from_bytes(frame[at : at + 3], "little") >> 3
    return bytes([low & 0xFE]) + frame[at + 1 : at + 3 + size]


BOMBED = """
import json, resource, sys
from pathlib import Path
from convex_messaging_fastapi.transport.kafka.engine.batches.unpacking import *
packed = Path(sys.argv[2]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with unpacking_at_most(4 * 2**20):
        unpacked(int(sys.argv[1]), packed)
except UnpacksTooLarge:
    print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
"""


@CODECS
def test_refusing_takes_no_more_memory_than_the_limit(number: int, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_bytes(ENCODERS[number](bytes(100 * MEBIBYTE)))
    ran = subprocess.run(
        [sys.executable, "-c", BOMBED, str(number), str(bomb)],
        capture_output=True,
        cwd=Path(__file__).parents[5],
        timeout=60,
        check=False,
    )
    assert ran.stderr == b""
    assert json.loads(ran.stdout) < 3 * 4 + 4, "MiB more than before"


# Whatever comes.

FEW = examples(60)


@CODECS
@FEW
@given(plain=st.binary(min_size=1, max_size=200), times=st.integers(1, 300), limit=st.integers(0, 20_000))
def test_any_content_comes_through_or_is_refused_by_its_size(
    number: int, plain: bytes, times: int, limit: int
) -> None:
    plain *= times
    with unpacking_at_most(limit):
        if len(plain) <= limit:
            assert unpacked(number, ENCODERS[number](plain)) == plain
        else:
            with pytest.raises(UnpacksTooLarge):
                unpacked(number, ENCODERS[number](plain))


@CODECS
@FEW
@given(st.data())
def test_broken_content_ends_as_it_does_without_a_limit(number: int, data: st.DataObject) -> None:
    packed = bytearray(ENCODERS[number](data.draw(st.binary(min_size=1, max_size=300), label="plain")))
    for _ in range(data.draw(st.integers(0, 3), label="changes")):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(packed[: data.draw(st.integers(0, len(packed)))]) + data.draw(st.binary(max_size=10))
    with unpacking_at_most(LIMIT):
        ours = outcome(unpacked, number, broken)
    if ours not in ("ValueError", "UnpacksTooLarge"):
        theirs = outcome(DECODERS[number], broken)
        assert ours == theirs or (isinstance(ours, str) and isinstance(theirs, str))


@CODECS
@FEW
@given(arbitrary=st.binary(max_size=300))
@example(arbitrary=b"\x28\xb5\x2f\xfd\x00\x58")
@example(arbitrary=b"\x04\x22\x4d\x18\x40\x40\xc0")
@example(arbitrary=b"\x82SNAPPY\0\0\0\0\1\0\0\0\1" + b"\xff" * 4)
@example(arbitrary=gzip.compress(b"x")[:-3])
def test_any_bytes_end_in_an_answer_or_an_error(number: int, arbitrary: bytes) -> None:
    with unpacking_at_most(LIMIT):
        outcome(unpacked, number, arbitrary)


def outcome(function: Any, *arguments: Any) -> bytes | str:
    try:
        unpacked: bytes = function(*arguments)
    except Exception as error:  # noqa: BLE001 - that it is one is what is tested
        return type(error).__name__
    return unpacked


# Which batch it was.


def partition_records(fetched: bytes) -> PartitionRecords:
    where = TopicPartition("orders", 0)
    return PartitionRecords(where, MemoryRecords(fetched), [], 0, None, None, True, 1)


def test_the_batch_that_an_error_is_of_is_known_by_its_offsets() -> None:
    fine, bomb = batch((b"a", []), (b"b", [])), bytearray(batch((bytes(LIMIT), []), (b"c", []), codec=ZSTD))
    struct.pack_into(">q", bomb, 0, 2)
    with unpacking_at_most(1000), pytest.raises(UnpacksTooLarge) as caught:
        list(partition_records(fine + bytes(bomb)))
    assert span_of(caught.value) == Span(2, 4)


def test_of_a_batch_of_old_only_the_end_is_known() -> None:
    with unpacking_at_most(1000), pytest.raises(UnpacksTooLarge) as caught:
        list(partition_records(legacy(LIMIT, GZIP)))
    assert span_of(caught.value) == Span(None, 1)


def test_an_error_of_no_batch_has_no_offsets() -> None:
    with pytest.raises(UnpacksTooLarge) as caught:
        raise UnpacksTooLarge(1, 2)
    assert span_of(caught.value) is None


# What is relied on.


def test_an_engine_that_unpacks_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in unpacking._modules():
        if hasattr(module, "zstd_decode"):
            monkeypatch.setattr(module, "zstd_decode", codec.zstd_decode)
    with pytest.raises(ConfigurationError, match="it lacks a place to bound its zstd_decode"):
        patches.check_bounds()


def test_to_tell_the_engine_again_changes_nothing() -> None:
    unpacking.bound_unpacking()
    assert unpacking.unbounded() == []
    assert default_records.zstd_decode.__wrapped__ is codec.zstd_decode


def test_an_engine_without_compiled_parts_is_bounded_too() -> None:
    check = (
        "from convex_messaging_fastapi.transport.kafka.engine import patches; "
        "from convex_messaging_fastapi.transport.kafka.engine.batches import unpacking; "
        "patches._patch_modules(); print(unpacking.unbounded())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        env={"AIOKAFKA_NO_EXTENSIONS": "1"},
        cwd=Path(__file__).parents[5],
        timeout=60,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == (b"[]\n", b"")
