"""Header names that no engine of ours can read do not stop a partition."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from convex_messaging_fastapi.transport.kafka.engine.batches.header_names import is_of_a_name, readable
from convex_messaging_fastapi.transport.kafka.engine.batches.unpacking import unpacking_at_most
from tests.support.batches import batch
from tests.support.examples import examples

GZIP = 1
BAD = b"\xff\xfe-name"


def read(fetched: bytes) -> list[tuple[int, int, bytes | None, list[tuple[str, bytes | None]]]]:
    """What the engine makes of it."""
    found = []
    records = MemoryRecords(fetched)
    while records.has_next():
        read = records.next_batch()
        assert read.validate_crc()
        found += [(r.offset, r.timestamp, r.value, list(r.headers)) for r in read]
    return found


def test_the_engine_cannot_read_such_a_name() -> None:
    with pytest.raises(UnicodeDecodeError) as caught:
        read(batch((b"v", [(BAD, b"x")])))
    assert is_of_a_name(caught.value)


@pytest.mark.parametrize("codec", [0, GZIP], ids=["plain", "compressed"])
def test_only_the_bytes_that_are_not_utf_8_are_replaced(codec: int) -> None:
    headers = [("ü".encode() + BAD, b"\xff"), (b"null", None), (b"\xed\xa0\x80", b""), (b"", b"no name")]
    fetched = batch((b"a", headers), (None, []), (b"c" * 1000, [(b"fine", b"x")]), codec=codec)
    assert read(readable(fetched)) == [
        (0, 1000, b"a", [("ü??-name", b"\xff"), ("null", None), ("???", b""), ("", b"no name")]),
        (1, 1001, None, []),
        (2, 1002, b"c" * 1000, [("fine", b"x")]),
    ]


def test_what_needs_no_mending_stays_as_it_is() -> None:
    fine = batch((b"a", [("ü".encode(), b"x")]), codec=GZIP)
    cut_off = batch((b"b", [(BAD, b"x")]))[:-1]
    broken = bytearray(batch((b"c", [(BAD, b"x")])))
    broken[-1] ^= 1
    for fetched in (b"", fine, cut_off, bytes(broken), fine + cut_off, cut_off[:5]):
        assert readable(fetched) == fetched


def test_batches_before_and_after_keep_their_places() -> None:
    fine, bad = batch((b"a", [(b"x", b"y")])), batch((b"b", [(BAD, None)]))
    mended = readable(fine + bad + fine[:30])
    assert mended.startswith(fine)
    assert mended.endswith(fine[:30])
    assert [value for _, _, value, _ in read(mended)] == [b"a", b"b"]


@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=50),
            st.lists(st.tuples(st.binary(max_size=20), st.none() | st.binary(max_size=20)), max_size=5),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([0, GZIP]),
)
def test_whatever_the_names_the_rest_comes_through(records: Any, codec: int) -> None:
    found = read(readable(batch(*records, codec=codec)))
    assert [(value, [v for _, v in headers]) for _, _, value, headers in found] == [
        (value, [v for _, v in headers]) for value, headers in records
    ]


def sealed(attributes: int, count: int, records: bytes) -> bytes:
    """A batch whose checksum is right, whatever its records are."""
    whole = bytearray(batch((b"v", []))[:61]) + records
    struct.pack_into(">i", whole, 8, len(whole) - 12)
    struct.pack_into(">h", whole, 21, attributes)
    struct.pack_into(">i", whole, 57, count)
    struct.pack_into(">I", whole, 17, calc_crc32c(bytes(whole[21:])))
    return bytes(whole)


@examples(200)
@given(st.integers(0, 7), st.integers(-(2**31), 2**31 - 1), st.binary(max_size=100))
@example(0, 2**31 - 1, b"\x01" * 20)  # records of minus one byte
@example(0, 1, b"\x28\0\0\0\0\0" + b"\xfe\xff\xff\xff\x0f")  # of 2**31 - 1 headers
@example(5, 1, b"")
def test_records_that_cannot_be_mended_are_left_to_the_engine(codec: int, count: int, records: bytes) -> None:
    fetched = sealed(codec, count, records)
    assert len(readable(fetched)) >= len(fetched) or codec


@examples(200)
@given(st.binary(max_size=200))
@example(b"\0" * 8 + struct.pack(">i", -12) + b"\0" * 10)
def test_any_bytes_come_back_as_they_are(fetched: bytes) -> None:
    assert readable(fetched) == fetched


def test_a_batch_that_unpacks_to_too_much_is_left_to_the_engine() -> None:
    bomb = batch((bytes(100_000), [(BAD, b"x")]), codec=GZIP)
    with unpacking_at_most(1000):
        assert readable(bomb) == bomb
