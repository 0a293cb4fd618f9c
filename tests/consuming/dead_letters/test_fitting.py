"""Dressing a letter costs in proportion to its record, and what it measures is known before it is written."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.consuming.dead_letters.building import size_of
from convex_messaging_fastapi.consuming.dead_letters.fitting import MAX_HEADERS, base64_size, json_size
from convex_messaging_fastapi.messages.dead_letter import as_base64
from convex_messaging_fastapi.records import Headers, Record, size_of_headers
from tests.consuming.dead_letters.test_building import FAILURE, a_record, buried, letter_of
from tests.support.examples import examples

pytestmark = pytest.mark.cpu

MIB = 1024 * 1024
SECONDS_A_MIB = 0.15
MEMORY = 16
"""So many times its own size may dressing a record take, letter included. Promised are 64."""

EVERY_CHARACTER = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x11000))))


def of(size: int, pattern: bytes) -> bytes:
    return (pattern * (size // len(pattern) + 1))[:size]


Make = Callable[[], dict[str, object]]
"""What a record holds is made for its test alone: all of it together is a sixth of a gigabyte."""


def value(pattern: bytes) -> Make:
    return lambda: {"value": of(8 * MIB, pattern)}


VALUES: dict[str, Make] = {
    "control characters": value(b"\x01"),
    "quotes": value(b'"'),
    "ordinary text": value(b'{"bet_id": 17, "player": "ada"},'),
    "no UTF-8": value(b"\xff"),
    "no UTF-8 at the very end": lambda: {"value": of(8 * MIB, b"x") + b"\xff"},
    "text of three bytes a character": value("€".encode()),
    "one wide character in much text": lambda: {"value": "😀".encode() + of(8 * MIB, b"x")},
    "nothing but wide characters": lambda: {"value": "😀".encode() * (2 * MIB)},
    "a key and a value": lambda: {"key": of(4 * MIB, b"\xff"), "value": of(4 * MIB, b'"')},
}
COSTLY: dict[str, Make] = VALUES | {
    "a key": lambda: {"key": of(8 * MIB, b"\x01")},
    "a million headers": lambda: {"headers": (("a", b""),) * (2 * MIB)},
    "headers without values": lambda: {"headers": (("abcd", None),) * (2 * MIB)},
    "as many headers as are told": lambda: {"headers": (("h" * 10, of(4000, b"\x01")),) * MAX_HEADERS},
    "one large header": lambda: {"headers": (("h", of(8 * MIB, b"\x01")),)},
    "a large name of a header": lambda: {"headers": (("\x01" * (8 * MIB), b""),)},
    "ids that are large": lambda: {
        "headers": tuple((name, of(4 * MIB, b"\xff")) for name in ("message-id", "correlation-id"))
    },
    "a count that is large": lambda: {"headers": (("x-convex-replay-count", of(8 * MIB, b"9")),)},
}


@pytest.mark.parametrize("limit", [64 * 1024, 1 * MIB, 2 * 8 * MIB + 64 * 1024], ids="limit-{}".format)
@pytest.mark.parametrize("changes", COSTLY.values(), ids=COSTLY)
def test_a_letter_costs_in_proportion_to_its_record(changes: Make, limit: int) -> None:
    record = a_record(**changes())
    mebibytes = bytes_of(record) / MIB
    assert mebibytes >= 2
    began = time.thread_time()
    letter = buried(record, limit)
    assert time.thread_time() - began < SECONDS_A_MIB * mebibytes
    assert size_of(letter) <= limit
    tracemalloc.start()
    try:
        buried(record, limit)
        assert tracemalloc.get_traced_memory()[1] < MEMORY * MIB * mebibytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_is_as_large_as_a_message_may_be_comes_back_whole(name: str) -> None:
    record = a_record(**VALUES[name]())
    assert letter_of(buried(record, 2 * bytes_of(record) + 64 * 1024)).original_value() == record.value


@pytest.mark.parametrize("count", [0, 1, MAX_HEADERS, MAX_HEADERS + 1])
def test_so_many_headers_are_told_and_no_more(count: int) -> None:
    record = a_record(headers=tuple((f"h{n}", b"v") for n in range(count)))
    letter = letter_of(buried(record, 8 * MIB))
    assert letter.headers_omitted is (count > MAX_HEADERS)
    if count <= MAX_HEADERS:
        assert letter.original_headers() == record.headers
    assert letter.original_value() == record.value


texts = st.text() | st.text(alphabet='"\\\x00\x08\t\n\x0b\x1f\x7f\x80 é€😀')


@given(texts | st.just(EVERY_CHARACTER))
def test_the_size_of_text_in_json_is_known_before_it_is_written(text: str) -> None:
    written = buried(a_record(value=text.encode(), headers=())).value or b""
    other = buried(a_record(value=b"", headers=())).value or b""
    assert len(written) - len(other) == json_size(text.encode()) - json_size(b"")


@given(st.binary(max_size=100))
def test_the_size_of_base64_is_too(value: bytes) -> None:
    assert base64_size(value) == len(as_base64(value)) + 2


parts = st.none() | st.binary(max_size=60) | texts.map(str.encode)
header_lists = st.lists(st.tuples(texts, parts), max_size=5).map(tuple)


@examples(200)
@given(key=parts, value=parts, headers=header_lists)
def test_a_letter_that_measures_just_its_limit_holds_everything_and_a_byte_less_leaves_something_out(
    key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    record = a_record(key=key, value=value, headers=headers)
    whole = buried(record)
    size = size_of(whole)
    assert letter_of(whole).stack_trace == FAILURE.stack
    assert buried(record, size) == whole
    less = buried(record, size - 1)
    assert size_of(less) <= size - 1
    in_base64 = letter_of(less).original_message is None and letter_of(whole).original_message is not None
    assert letter_of(less).stack_trace is None or in_base64


def bytes_of(record: Record) -> int:
    return len(record.key or b"") + len(record.value or b"") + size_of_headers(record.headers)
