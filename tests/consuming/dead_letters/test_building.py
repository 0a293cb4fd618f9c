"""Every failed record becomes a letter that fits, gives the original back, and says why."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.consuming.dead_letters.building import (
    build_dead_letter,
    failure_to_read,
    size_of,
)
from convex_messaging_fastapi.failures import Failure, failure_of
from convex_messaging_fastapi.messages import DeadLetterMessage, codec_for
from convex_messaging_fastapi.messages.bounds import Bounds
from convex_messaging_fastapi.records import Headers, OutgoingRecord, Record
from convex_messaging_fastapi.transport.base import Unreadable
from tests.support.examples import examples

GOLDEN = Path(__file__).parents[2] / "messages" / "golden"
FAILED_AT = datetime(2026, 1, 1, 12, 0, 0, 500000, UTC)
FAILURE = Failure(
    "app.PaymentFailed", "card refused", "app.PaymentFailed: card refused", 3, "payments", "app.pay"
)
MIB = 1024 * 1024


def a_record(**changes: Any) -> Record:
    record = Record(
        topic="convex.payments",
        partition=2,
        offset=41,
        timestamp_ms=1_767_225_600_123,
        key=b"user-1",
        value=b'{"BetId":1,"Amount":100.00}',
        headers=(("message-id", b"m-1"), ("correlation-id", b"c-1"), ("raw", b"\xff"), ("none", None)),
    )
    return record._replace(**changes)


def buried(record: Record, limit: int = 2 * MIB, failure: Failure = FAILURE) -> OutgoingRecord:
    return build_dead_letter(record, failure, FAILED_AT, limit)


def letter_of(outgoing: OutgoingRecord) -> DeadLetterMessage:
    letter = codec_for(DeadLetterMessage).within(Bounds().of_dead_letters).decode(outgoing.value)
    assert isinstance(letter, DeadLetterMessage)
    return letter


def test_a_letter_has_the_golden_bytes() -> None:
    assert buried(a_record()).value == (GOLDEN / "dead_letter.json").read_bytes().strip()


def test_a_place_in_the_users_code_stands_behind_the_stack_and_changes_nothing_else() -> None:
    """Whoever groups letters must not have to find it in a stack that was cut."""
    placed = replace(FAILURE, frame="app/payments.py:41 in charge")
    stack = b'"StackTrace":"app.PaymentFailed: card refused"'
    golden = (GOLDEN / "dead_letter.json").read_bytes().strip()
    written = buried(a_record(), failure=placed).value
    assert written == golden.replace(stack, stack + b',"Frame":"app/payments.py:41 in charge"')
    assert letter_of(OutgoingRecord(None, written)).frame == "app/payments.py:41 in charge"


def test_the_record_of_a_letter_has_the_original_key_and_headers_of_its_own() -> None:
    outgoing = buried(a_record())
    assert outgoing.key == b"user-1"
    assert outgoing.headers == (
        ("message-type", b"DeadLetterMessage"),
        ("timestamp", b"1767268800"),
        ("message-id", b"1ff9e87a-f0bb-5d4c-926e-1dc114f8d00d"),
        ("correlation-id", b"c-1"),
        ("content-type", b"application/json"),
    )


def test_the_same_failure_written_twice_has_the_same_message_id() -> None:
    def id_of(**changes: Any) -> bytes | None:
        return dict(buried(a_record(**changes)).headers)["message-id"]

    assert id_of() == id_of()
    assert id_of() != id_of(offset=42)


def test_the_failure_of_each_replay_has_a_message_id_of_its_own() -> None:
    """Whoever remembers ids would take it for the first failure, written twice."""

    def id_of(count: bytes | None) -> bytes | None:
        headers = (("x-convex-replay-count", count),)
        return dict(buried(a_record(headers=headers)).headers)["message-id"]

    counts = [b"1", b"2", b"3", b"1000"]
    assert len({id_of(count) for count in (None, *counts)}) == 1 + len(counts)
    assert [id_of(count) for count in counts] == [id_of(count) for count in counts]
    assert id_of(b"0") == id_of(None) == dict(buried(a_record()).headers)["message-id"]


headers = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=6).map(tuple)


@given(
    value=st.none() | st.binary() | st.text().map(str.encode), key=st.none() | st.binary(), headers=headers
)
def test_the_original_comes_back_byte_for_byte(
    value: bytes | None, key: bytes | None, headers: Headers
) -> None:
    outgoing = buried(a_record(value=value, key=key, headers=headers))
    letter = letter_of(outgoing)
    assert letter.original_value() == value
    assert letter.was_null is (value is None)
    assert letter.original_key() == key == outgoing.key
    assert letter.original_headers() == headers


def test_a_value_is_text_whenever_it_is_utf8_and_base64_only_otherwise() -> None:
    text = letter_of(buried(a_record(value='{"a":"ñ\\u0000"}'.encode())))
    assert (text.original_message, text.original_message_base64) == ('{"a":"ñ\\u0000"}', None)
    raw = letter_of(buried(a_record(value=b"\xff")))
    assert (raw.original_message, raw.original_message_base64) == (None, "/w==")


@pytest.mark.parametrize(
    "value", [b"x" * (MIB - 1), b"\xff" * MIB, b"\x00" * MIB, b'"' * MIB, "€".encode() * 349_525]
)
def test_a_mebibyte_of_anything_comes_back_from_a_topic_of_twice_the_default_size(value: bytes) -> None:
    outgoing = buried(a_record(value=value))
    assert size_of(outgoing) <= 2 * MIB
    assert letter_of(outgoing).original_value() == value


class TestWhatDoesNotFit:
    """Things are left out one after another, the payload last."""

    def test_text_with_much_to_escape_goes_in_base64(self) -> None:
        letter = letter_of(buried(a_record(value=b"\x00" * 40_000), 64 * 1024))
        assert letter.original_message is None
        assert letter.original_value() == b"\x00" * 40_000
        assert letter.stack_trace is not None

    def test_first_the_stack_trace_goes(self) -> None:
        failure = failure_of(_raised(ValueError("x")), 1, "g", "h")
        full = size_of(buried(a_record(), failure=failure))
        letter = letter_of(buried(a_record(), full - 1, failure))
        assert letter.stack_trace is None
        assert letter.original_headers() == a_record().headers
        assert letter.original_value() == a_record().value

    def test_then_the_headers(self) -> None:
        record = a_record(headers=tuple(("name" * 5000, b"v") for _ in range(20)))
        letter = letter_of(buried(record, 64 * 1024))
        assert letter.headers_omitted
        assert letter.original_value() == record.value
        assert letter.original_key() == record.key

    def test_then_the_letters_copy_of_the_key(self) -> None:
        record = a_record(key=b"k" * 40_000)
        outgoing = buried(record, 64 * 1024)
        letter = letter_of(outgoing)
        assert letter.key_omitted
        assert outgoing.key == record.key
        assert letter.original_value() == record.value

    def test_then_the_payload_to_which_the_letter_points(self) -> None:
        record = a_record(value=b"x" * 100_000)
        letter = letter_of(buried(record, 64 * 1024))
        assert letter.payload_omitted
        assert (letter.original_message, letter.original_message_base64) == (None, None)
        assert (letter.original_topic, letter.original_partition, letter.original_offset) == (
            "convex.payments",
            2,
            41,
        )
        assert letter.stack_trace == FAILURE.stack
        assert letter.original_key() == record.key
        assert letter.original_headers() == record.headers

    def test_at_last_the_records_own_key(self) -> None:
        outgoing = buried(a_record(key=b"k" * MIB, value=b"x" * MIB), 64 * 1024)
        assert outgoing.key is None
        assert letter_of(outgoing).key_omitted
        assert size_of(outgoing) <= 64 * 1024

    def test_where_a_thousand_bytes_are_much_long_names_and_texts_are_cut_too(self) -> None:
        failure = failure_of(_raised(RuntimeError("x" * MIB)), 3, "g" * 100, "app.handlers." + "h" * 100)
        outgoing = buried(a_record(key=b"k" * 400), 1000, failure)
        assert size_of(outgoing) <= 1000
        letter = letter_of(outgoing)
        assert letter.payload_omitted
        assert (letter.original_topic, letter.original_partition, letter.original_offset) == (
            "convex.payments",
            2,
            41,
        )
        assert letter.exception_type == "RuntimeError"


hostile_headers = st.sampled_from(
    [
        (),
        tuple((f"h{n}", b"v") for n in range(1000)),
        (("n" * 70_000, None),),
        (("message-id", b"\x00" * 70_000), ("correlation-id", b"\xff\x1b[31m" * 20_000)),
        (("\ud800", b"x"), ("message-id", None), ("x-convex-replay-count", b"9" * 70_000)),
    ]
)
hostile_bytes = st.sampled_from(
    [None, b"", b"\x00" * MIB, b"\xff" * MIB, b"x" * 30_000, b'"\x1b\xe2\x80\xa8' * 9000]
)
hostile_texts = st.text() | st.sampled_from(["x" * MIB, "\x00" * MIB, "\ud800" * 9000, "😀" * MIB])


@examples(50)
@given(
    headers=hostile_headers,
    key=hostile_bytes,
    value=hostile_bytes,
    text=hostile_texts,
    timestamp=st.sampled_from([-1, 0, 2**63 - 1, -(2**63)]),
)
def test_whatever_a_producer_sends_there_is_a_letter_that_fits(
    headers: Headers, key: bytes | None, value: bytes | None, text: str, timestamp: int
) -> None:
    record = a_record(headers=headers, key=key, value=value, timestamp_ms=timestamp)
    failure = failure_of(_raised(RuntimeError(text)), 3, text, text)
    for limit in (64 * 1024, 2 * MIB):
        outgoing = buried(record, limit, failure)
        assert size_of(outgoing) <= limit
        assert json.loads(outgoing.value or b"")["OriginalOffset"] == 41


BATCH = Unreadable(41, 44, "ValueError", "ValueError: broken at 0x7f", tries=13)


@pytest.mark.parametrize("limit", [64 * 1024, 2 * MIB])
def test_the_letter_of_a_batch_that_cannot_be_read_says_where_it_stands(limit: int) -> None:
    record = Record("convex.payments", 2, 41, -1, None, None)
    outgoing = buried(record, limit, failure_to_read(BATCH, "payments"))
    letter = letter_of(outgoing)
    assert (letter.original_topic, letter.original_partition) == ("convex.payments", 2)
    assert (letter.original_offset, letter.original_last_offset) == (41, 43)
    assert (letter.payload_omitted, letter.headers_omitted, letter.key_omitted) == (True, True, True)
    assert (letter.exception_type, letter.error_message) == ("ValueError", "ValueError: broken at 0x7f")
    assert (letter.attempts, letter.consumer_group, letter.handler) == (13, "payments", None)
    assert outgoing.key is None
    again = buried(record, limit, failure_to_read(BATCH._replace(tries=14), "payments"))
    assert [h for h in again.headers if h[0] == "message-id"] == [
        h for h in outgoing.headers if h[0] == "message-id"
    ]


def test_without_texts_it_says_no_more_than_the_type() -> None:
    failure = failure_to_read(BATCH, "payments", texts=False)
    assert failure.text == "ValueError, whose text is not told: error_texts is false"


def test_a_time_that_no_calendar_holds_is_left_out() -> None:
    assert letter_of(buried(a_record())).original_timestamp == datetime(2026, 1, 1, 0, 0, 0, 123000, UTC)
    for timestamp in (-1, 2**63 - 1):
        assert letter_of(buried(a_record(timestamp_ms=timestamp))).original_timestamp is None


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (b"2", 2),
        (b"0", 0),
        (b"", 0),
        (b"-1", 0),
        (b"999999999", 1000),
        (b"9" * 5000, 0),
        (b"\xff", 0),
        ("²".encode(), 0),
        (None, 0),
    ],
)
def test_a_replay_count_from_outside_is_bounded(written: bytes | None, count: int) -> None:
    assert letter_of(buried(a_record(headers=(("x-convex-replay-count", written),)))).replay_count == count


def _raised(error: Exception) -> Exception:
    def throw() -> NoReturn:
        raise error

    return _caught(throw)


def _caught(function: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any will do
        function()
    return caught.value
