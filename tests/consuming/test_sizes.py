"""What a buffered record is counted as: all that it takes in memory, its headers too."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.handing_out import jobs_for
from convex_messaging_fastapi.consuming.holds import Holds
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.records import (
    HEADERS_LEFT_OUT,
    MAX_HEADERS,
    Headers,
    Lease,
    Record,
    kept_headers,
)
from tests.consuming.support import WHERE, Bench
from tests.consuming.test_worker import MIB, Turnstile

headers = st.lists(st.tuples(st.text(max_size=200), st.none() | st.binary(max_size=2000)), max_size=60).map(
    tuple
)


def size_in_memory(held: Headers) -> int:
    return sum(sys.getsizeof(each) + sum(map(sys.getsizeof, each)) for each in held if each) + 8 * len(held)


def job(value: bytes | None, key: bytes | None, held: Headers) -> Job:
    owned = OwnedPartition(WHERE, Lease(1), Ledger(0, 10), Holds(lambda: 0.0))
    [entered] = jobs_for([Record(*WHERE, 0, 0, key, value, held)], owned, 1)
    assert owned.ledger.bytes_unfinished == entered.size
    return entered


@given(value=st.none() | st.binary(), key=st.none() | st.binary(), held=headers)
def test_a_job_weighs_key_value_and_headers(value: bytes | None, key: bytes | None, held: Headers) -> None:
    plain = len(value or b"") + len(key or b"")
    weight = job(value, key, held).size - plain
    texts = sum(len(name) + len(text or b"") for name, text in held)
    assert weight >= texts
    assert weight - texts == 150 * len(held)
    narrow = tuple((name.encode("ascii", "ignore").decode(), text) for name, text in held)
    assert job(value, key, narrow).size - plain >= 0.9 * size_in_memory(narrow) - 100


@given(count=st.integers(0, 5 * MAX_HEADERS))
def test_of_too_many_headers_the_first_are_kept_and_the_others_counted(count: int) -> None:
    given_ones = [(f"h{n}", b"%d" % n) for n in range(count)]
    kept = kept_headers(given_ones)
    assert len(kept) == min(count, MAX_HEADERS)
    if count <= MAX_HEADERS:
        assert kept == tuple(given_ones)
    else:
        *first, (name, left_out) = kept
        assert name == HEADERS_LEFT_OUT
        assert first == given_ones[: len(first)]
        assert len(first) + int(left_out or 0) == count


@pytest.mark.parametrize(
    "held",
    [(("big", b"x" * MIB),), (("x" * MIB, None),), tuple((f"h{n}", b"x" * 5000) for n in range(210))],
    ids=["value", "name", "many"],
)
async def test_a_buffer_that_is_full_of_headers_takes_no_more(held: Headers) -> None:
    limits = Limits(max_uncommitted=1000, max_buffer_records=1000, max_buffer_bytes=8 * MIB)
    handler = Turnstile()
    async with Bench(handler, limits=limits, concurrency=1) as bench:
        bench.transport.assign()
        for offset in range(40):
            bench.transport.feed(offset)
            log = bench.transport.logs[WHERE]
            log[-1] = log[-1]._replace(headers=held)
            await bench.advance(0.3)
        [owned] = bench.worker.partitions
        assert 6 * MIB < owned.ledger.bytes_unfinished < 10 * MIB
        assert owned.ledger.unfinished < 10
