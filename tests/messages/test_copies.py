"""Copies of what is replayed: written from an original, and read as it again, whatever stands there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.messages.copies import (
    BY,
    COUNT,
    GROUP,
    HANDLER,
    JOB,
    LETTER,
    MAX_LETTER,
    MOVED,
    ORIGINAL,
    ReplayMarks,
    copy_for_handler,
    copy_for_topic,
    read_copy,
)
from convex_messaging_fastapi.records import (
    HEADERS_LEFT_OUT,
    MAX_HEADERS,
    Headers,
    OutgoingRecord,
    Record,
    kept_headers,
)

MARKS = ReplayMarks(2, "convex.dlq/3/517", "0192f0c1", "ada")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORIGINALLY: Headers = (
    ("message-id", b"m-1"),
    ("traceparent", TRACE.encode()),
    ("empty", None),
    ("tenant", b"\xff\x00"),
    ("tracestate", b"a=1"),
    ("tenant", b"es"),
    ("baggage", None),
)
FAILED = Record("convex.payments", 4, 88, 1_767_225_600_123, b"\x00k", b'{"a":1}', ORIGINALLY)
SHOWN: Headers = ((COUNT, b"2"), (LETTER, b"convex.dlq/3/517"), (JOB, b"0192f0c1"))


def landed(copy: OutgoingRecord) -> Record:
    """The copy as the worker reads it."""
    return Record("convex.billing.replay", 1, 7, 1_800_000_000_000, *copy[:2], kept_headers(copy.headers))


def test_the_names_and_values_are_what_other_releases_read() -> None:
    copy = copy_for_handler(FAILED, "billing:eu", "app.charge", MARKS)
    assert copy == OutgoingRecord(
        b"\x00k",
        b'{"a":1}',
        (
            ("x-convex-original", b"convex.payments/4/88/1767225600123"),
            ("x-convex-replay-group", b"billing:eu"),
            ("x-convex-replay-handler", b"app.charge"),
            ("x-convex-replay-count", b"2"),
            ("x-convex-replay-letter", b"convex.dlq/3/517"),
            ("x-convex-replay-job", b"0192f0c1"),
            ("x-convex-replay-by", b"ada"),
            ("message-id", b"m-1"),
            ("x-convex-original-traceparent", TRACE.encode()),
            ("empty", None),
            ("tenant", b"\xff\x00"),
            ("x-convex-original-tracestate", b"a=1"),
            ("tenant", b"es"),
            ("x-convex-original-baggage", None),
        ),
    )


def test_a_copy_is_read_as_the_original_with_what_a_handler_may_know_of_the_replay() -> None:
    copy = read_copy(landed(copy_for_handler(FAILED, "billing:eu", "app.charge", MARKS)))
    assert (copy.group, copy.handler) == ("billing:eu", "app.charge")
    assert copy.original == FAILED._replace(headers=SHOWN + ORIGINALLY)


def test_a_copy_for_the_original_s_topic_has_the_marks_alone() -> None:
    copy = copy_for_topic(FAILED, MARKS)
    assert copy == OutgoingRecord(FAILED.key, FAILED.value, (*SHOWN, (BY, b"ada"), *ORIGINALLY))


@pytest.mark.parametrize("name", [ORIGINAL, GROUP, HANDLER, COUNT, LETTER, JOB, BY, *MOVED.values()])
def test_headers_of_ours_in_the_original_are_not_copied(name: str) -> None:
    """They are of an earlier replay, or forged."""
    forged = FAILED._replace(headers=((name, b"forged"), *ORIGINALLY, (name, b"forged")))
    assert copy_for_handler(forged, "g", "h", MARKS) == copy_for_handler(FAILED, "g", "h", MARKS)
    assert copy_for_topic(forged, MARKS) == copy_for_topic(FAILED, MARKS)


def test_a_second_copy_is_made_of_what_the_first_was_read_as() -> None:
    again = read_copy(landed(copy_for_handler(FAILED, "g", "h", MARKS))).original
    assert copy_for_handler(again, "g", "h", MARKS) == copy_for_handler(FAILED, "g", "h", MARKS)


def test_of_a_record_with_as_many_headers_as_are_kept_none_is_lost() -> None:
    many = tuple((f"h{n}", b"%d" % n) for n in range(MAX_HEADERS - 1))
    kept = FAILED._replace(headers=(*many, (HEADERS_LEFT_OUT, b"744")))
    assert read_copy(landed(copy_for_handler(kept, "g", "h", MARKS))).original.headers == SHOWN + kept.headers


def test_who_replayed_it_is_told_in_one_short_line() -> None:
    (_, by) = ReplayMarks(1, "l/0/0", "j", "ada\n\x1b[2J" + "x" * 500).headers[-1]
    assert by is not None
    assert by.decode().isprintable()
    assert len(by) <= 64


headers = st.lists(st.tuples(st.text(max_size=40), st.none() | st.binary(max_size=40)), max_size=20).map(
    tuple
)
topics = st.text("abcXYZ019._-", min_size=3, max_size=249)
records = st.builds(
    Record,
    topics,
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(-1, 2**63 - 1),
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=20),
    headers,
)


@given(record=records, group=st.text(), handler=st.text())
def test_whatever_failed_comes_back(record: Record, group: str, handler: str) -> None:
    copy = read_copy(landed(copy_for_handler(record, group, handler, MARKS)))
    assert (copy.group, copy.handler) == (group, handler)
    assert copy.original == record._replace(headers=SHOWN + record.headers)


NO_PLACES = {
    "nothing": b"",
    "no slashes": b"convex.payments",
    "too few": b"convex.payments/4/88",
    "too many": b"convex.payments/4/88/5/6",
    "a topic that Kafka refuses": b"convex payments/4/88/5",
    "no topic": b"/4/88/5",
    "a topic that steers a terminal": b"\x1b[2J/4/88/5",
    "a topic that is no text": b"\xff/4/88/5",
    "a parent folder": b"../4/88/5",
    "a long topic": b"a" * 250 + b"/4/88/5",
    "a negative offset": b"t/4/-88/5",
    "a signed partition": b"t/+4/88/5",
    "a partition that Kafka cannot have": b"t/2147483648/88/5",
    "an offset that Kafka cannot have": b"t/4/9223372036854775808/5",
    "a time that Kafka cannot have": b"t/4/88/9223372036854775808",
    "digits of another script": "t/4/\u0668\u0668/5".encode(),
    "a blank": b"t/4/88/ 5",
    "a line after it": b"t/4/88/5\n",
    "a megabyte of digits": b"t/4/" + b"8" * 1_000_000 + b"/5",
}


@pytest.mark.parametrize("place", NO_PLACES.values(), ids=NO_PLACES)
def test_a_copy_that_does_not_say_of_what_is_taken_as_it_is(place: bytes) -> None:
    record = landed(OutgoingRecord(b"k", b"v", ((ORIGINAL, place), ("message-id", b"m-1"))))
    copy = read_copy(record)
    assert copy.original == record._replace(headers=(("message-id", b"m-1"),))
    assert (copy.group, copy.handler) == (None, None)


def test_a_time_that_the_log_did_not_have_stays_unknown() -> None:
    assert (
        read_copy(landed(OutgoingRecord(None, None, ((ORIGINAL, b"t/0/1/-1"),)))).original.timestamp_ms == -1
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (COUNT, b"9" * 10),
        (JOB, b"j" * 65),
        (LETTER, b"l" * (MAX_LETTER + 1)),
        (JOB, b""),
        (JOB, None),
        (BY, b"ada"),
    ],
)
def test_what_is_longer_than_we_write_it_is_not_shown(name: str, value: bytes | None) -> None:
    assert read_copy(landed(OutgoingRecord(None, b"", ((name, value),)))).original.headers == ()


def test_names_that_are_no_text_equal_no_group() -> None:
    """Nor does what a replacement character would make of them."""
    copy = read_copy(landed(OutgoingRecord(None, b"", ((GROUP, b"caf\xe9"), (HANDLER, b"\xff")))))
    assert copy.group not in ("caf\ufffd", "caf\u00e9", None)
    assert copy.handler is not None


def test_the_last_value_counts() -> None:
    twice = ((GROUP, b"one"), (GROUP, b"two"), (GROUP, None))
    assert read_copy(landed(OutgoingRecord(None, b"", twice))).group == "two"


@given(
    names=st.lists(st.sampled_from([ORIGINAL, GROUP, HANDLER, COUNT, LETTER, JOB, BY, *MOVED.values()])),
    value=st.none() | st.binary(max_size=400),
)
def test_anybody_may_write_anything(names: list[str], value: bytes | None) -> None:
    record = landed(OutgoingRecord(None, None, tuple((name, value) for name in names)))
    copy = read_copy(record)
    assert copy.original.key == record.key
    assert copy.original.value == record.value
    assert len(copy.original.headers) <= len(names)
