"""Sets of the old record formats: read as they are, or refused; no length in them takes the process down."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import time
import zlib
from typing import Any

import pytest
from aiokafka import codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import example, given
from hypothesis import strategies as st

from convex_messaging_fastapi.transport.kafka.engine.batches.message_sets import walked
from convex_messaging_fastapi.transport.kafka.engine.batches.unpacking import unpacking_at_most
from tests.support.examples import examples

pytestmark = pytest.mark.cpu

MANY = examples(500)
MIB = 1024 * 1024


def message(
    magic: int,
    value: bytes | None,
    *,
    key: bytes | None = None,
    attributes: int = 0,
    size: int | None = None,
    key_size: int | None = None,
    value_size: int | None = None,
) -> bytes:
    """One message, with its checksum; a size that is given stands where the true one belongs."""
    body = struct.pack(">bb", magic, attributes) + (struct.pack(">q", 1) if magic else b"")
    for field, told in ((key, key_size), (value, value_size)):
        true = -1 if field is None else len(field)
        body += struct.pack(">i", true if told is None else told) + (field or b"")
    body = struct.pack(">I", zlib.crc32(body)) + body
    return struct.pack(">qi", 0, len(body) if size is None else size) + body


def wrapped(inner: bytes, number: int = 1, magic: int = 1) -> bytes:
    """A compressed message around a set of others, as brokers and producers before 0.11 wrote it."""
    encode = {1: codec.gzip_encode, 2: codec.snappy_encode, 3: codec.lz4_encode}[number]
    return message(magic, encode(inner), attributes=number)


def read(fetched: bytes) -> list[Any]:
    """What the engine makes of it, as it does for our own consumers."""
    with unpacking_at_most(64 * MIB):
        records, found = MemoryRecords(fetched), list[Any]()
        while records.has_next():
            batch = records.next_batch()
            assert batch is not None
            found += [(record.key, record.value) for record in batch]
        return found


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_set_is_read_as_it_is(magic: int, number: int) -> None:
    inner = message(magic, b"a", key=b"k") + message(magic, None) + message(magic, b"", key=b"")
    assert walked(inner) is inner
    if (magic, number) != (0, 3):  # that pair the engine refuses itself
        assert read(wrapped(inner, number, magic)) == [(b"k", b"a"), (None, None), (b"", b"")]


LIES: list[dict[str, int]] = [
    *({"size": n} for n in (-(2**31), -100, -26, -12, -1, 0, 13, 14, 21, 1000, 2**31 - 1)),
    *({"key_size": n} for n in (-(2**31), -2, 2, 1000, 2**31 - 1)),
    *({"value_size": n} for n in (-(2**31), -2, 2, 1000, 2**31 - 1)),
]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("lie", LIES, ids=str)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_length_that_is_a_lie_is_refused(magic: int, lie: dict[str, int], number: int) -> None:
    inner = message(magic, b"a") + message(magic, b"v", key=b"k", **lie) + b"\0" * 60
    with pytest.raises(CorruptRecordException, match="old format"):
        walked(inner)
    if (magic, number) != (0, 3):
        with pytest.raises(CorruptRecordException, match="old format"):
            read(wrapped(inner, number, magic))


@pytest.mark.parametrize(
    "inner", [b"\0", message(0, b"a")[:-1], message(1, b"a") + b"x", message(2, b"a")], ids=range(4)
)
def test_half_a_message_and_one_of_another_format_are_refused(inner: bytes) -> None:
    with pytest.raises(CorruptRecordException, match="old format"):
        read(wrapped(inner))


small = st.binary(max_size=12)
messages = st.builds(message, st.sampled_from([0, 1]), st.none() | small, key=st.none() | small)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A set of messages in which some bytes are others; lengths that matter among them."""
    whole = bytearray(b"".join(draw(st.lists(messages, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(whole) - 1))
        extreme = draw(
            st.sampled_from([b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"])
        )
        piece = draw(st.binary(max_size=4) | st.just(extreme))
        whole[at : at + len(piece)] = piece
    return bytes(whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole)


@MANY
@given(st.binary(max_size=200) | damaged())
@example(b"\0" * 8 + b"\x80\0\0\0" + b"\0" * 60)
@example(b"\xff" * 100)
@example(message(0, b"a", key=b"\0" * 8))
def test_whatever_the_bytes_they_are_read_or_refused(inner: bytes) -> None:
    try:
        read(wrapped(inner))
    except (CorruptRecordException, AssertionError, SystemError):
        # The second is the reader's word for wrappers in wrappers. The third is its word for a key or
        # value of a negative length, which it meets in messages of another magic than their wrapper.
        return
    assert walked(inner) == inner


def test_the_time_that_it_takes_is_in_proportion_to_the_number_of_messages() -> None:
    inner = message(0, b"") * 40_000  # a MiB of the smallest there are
    began = time.thread_time()
    walked(inner)
    assert time.thread_time() - began < 0.15


def test_without_the_walk_the_same_bytes_end_the_process() -> None:
    """The control, in a process of its own: should it pass, the engine has been mended, and this may go."""
    batch = wrapped(b"\0" * 8 + b"\x80\0\0\0" + b"\0" * 60)
    code = (
        "from aiokafka.record.memory_records import MemoryRecords\n"
        f"list(MemoryRecords({batch!r}).next_batch())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode < 0 or b"Error" in ended.stderr
    assert gzip.decompress(batch[34:]) == b"\0" * 8 + b"\x80\0\0\0" + b"\0" * 60
