"""Whatever a record of a dead-letter topic holds, it is told for what it is, and nothing is raised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.operations import Letter
from convex_messaging_fastapi.operations.letters import (
    group_key_of,
    is_quickly_told,
    letter_of,
    told_of,
)
from convex_messaging_fastapi.operations.letters.telling import QUICK_BYTES
from convex_messaging_fastapi.records import OutgoingRecord, Record
from tests.operations.support import DLQ, a_letter, dotnet, original, read
from tests.support.examples import examples

GOLDEN = Path(__file__).parents[2] / "messages" / "golden" / "dead_letter.json"
MIB = 1024 * 1024


def shown(record: Record, *, whole: bool = True) -> Letter:
    told = told_of(record)
    group_key_of(told)
    return letter_of(record, told, DLQ, whole=whole)


def of_value(value: bytes | None) -> Letter:
    return shown(Record(DLQ, 0, 7, 1_767_268_800_000, b"key", value))


def test_a_letter_of_ours_is_told_with_the_original_byte_for_byte() -> None:
    letter = shown(read(a_letter(), offset=517))
    assert (letter.kind, letter.id, letter.is_whole) == ("convex", "0/517", True)
    assert letter.origin == ("convex.payments", 2, 41, letter.origin.timestamp, None)
    assert (letter.group, letter.handler) == ("payments", "app.pay")
    assert (letter.error, letter.exception_type) == ("card refused", "app.CardRefused")
    assert (letter.frame, letter.attempts, letter.replay_count) == ("app/payments.py:41 in charge", 3, 0)
    assert (letter.message_id, letter.omitted, letter.names_cut) == ("m-1", (), False)
    assert (letter.key, letter.value) == (b"user-1", b'{"BetId":1,"Amount":100.00}')
    assert letter.headers == (("message-id", b"m-1"), ("raw", b"\xff"), ("none", None))
    assert letter.stack == "app.CardRefused: card refused"


def test_the_golden_letter_is_read() -> None:
    letter = of_value(GOLDEN.read_bytes().strip())
    assert (letter.kind, letter.group, letter.handler, letter.key) == (
        "convex",
        "payments",
        "app.pay",
        b"user-1",
    )


def test_in_a_list_it_has_no_value_headers_or_stack() -> None:
    letter = shown(read(a_letter(original(key=b"k" * 5000))), whole=False)
    assert (letter.value, letter.headers, letter.stack, letter.is_whole) == (None, (), None, False)
    assert letter.key == b"k" * 1024
    assert letter.size == len(a_letter(original(key=b"k" * 5000)).value or b"")


def test_a_letter_of_dotnet_has_five_fields_and_the_key_of_its_record() -> None:
    letter = shown(read(dotnet()))
    assert (letter.kind, letter.group, letter.handler) == ("dotnet", "-", "-")
    assert (letter.origin.topic, letter.error) == ("convex.payments", "Card refused")
    assert (letter.key, letter.value, letter.headers, letter.omitted) == (b"user-7", b'{"BetId":1}', (), ())
    assert letter.failed_at.isoformat() == "2026-01-01T12:00:00.123456+00:00"


@pytest.mark.parametrize(
    "value",
    [
        b'{"originalTopic":"convex.a","originalMessage":"x","errorMessage":"e","failedAt":"2026-01-01T00:00:00Z"}',
        b'{"original_topic":"convex.a","original_message":"x","error_message":"e","failed_at":"2026-01-01"}',
    ],
)
def test_names_may_be_spelled_as_json_libraries_do(value: bytes) -> None:
    letter = of_value(value)
    assert (letter.kind, letter.origin.topic, letter.value) == ("dotnet", "convex.a", b"x")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "the record has no value"),
        (b"", "the value is not JSON"),
        (b"\xff\x00", "the value is not JSON"),
        (b'{"OriginalTopic":"t","Error', "the value is not JSON"),
        (b"[" * 100_000, "the value is not looked at: it is nested more than 100 levels deep"),
        (b"[" * 10_000, "the value is not JSON"),
        (b'{"a":' + b"9" * 20_000 + b"}", "the value is not JSON"),
        (b"[]", "the value is JSON, and no dead letter"),
        (b"7", "the value is JSON, and no dead letter"),
        (b'{"BetId":1}', "the value is JSON, and no dead letter"),
        (b'{"OriginalTopic":7,"ErrorMessage":"e"}', "the value is JSON, and no dead letter"),
        (b'{"OriginalTopic":"t"}', "the value is JSON, and no dead letter"),
        (b"{" + b'"a":[{},{}],' * 60_000 + b'"b":1}', "the value is not looked at: it has more members"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_letter_is_unreadable_says_why_and_can_be_shown(value: bytes | None, why: str) -> None:
    letter = of_value(value)
    assert letter.kind == "unreadable"
    assert letter.error.startswith(why)
    assert (letter.key, letter.value) == (b"key", value)
    assert (letter.origin.topic, letter.group, letter.handler) == ("-", "-", "-")


@pytest.mark.parametrize(
    "wrong", [None, 7, -1, 1.5, True, [], {}, [1], {"a": 1}, "x", "", "\x1b[2J\n", 2**70]
)
@pytest.mark.parametrize(
    "field", sorted(json.loads(GOLDEN.read_bytes()) | {"Frame": "", "OriginalLastOffset": 1})
)
def test_a_field_of_any_type_does_no_harm(field: str, wrong: Any) -> None:
    value = json.loads(GOLDEN.read_bytes()) | {field: wrong}
    letter = of_value(json.dumps(value).encode())
    assert letter.kind in ("convex", "unreadable")
    assert isinstance(letter.error, str)
    assert isinstance(letter.replay_count, int)


@pytest.mark.parametrize(
    ("fields", "omitted"),
    [
        ({"PayloadOmitted": True}, ("value",)),
        ({"PayloadOmitted": "yes"}, ("value",)),
        ({"HeadersOmitted": True}, ("headers",)),
        ({"KeyOmitted": True}, ()),  # the letter's own record still has it
        ({"OriginalMessage": {"a": 1}}, ("value",)),
        ({"OriginalMessage": None, "OriginalMessageBase64": "!!"}, ("value",)),
        ({"OriginalKey": 7}, ("key",)),
        ({"OriginalKeyBase64": "a"}, ("key",)),
        ({"OriginalHeaders": "none"}, ("headers",)),
        ({"OriginalHeaders": [{"Name": 7}]}, ("headers",)),
        ({"OriginalHeaders": [{"Name": "a", "ValueBase64": "!"}]}, ("headers",)),
    ],
    ids=str,
)
def test_what_is_not_there_as_it_was_is_named_and_never_taken_for_null(
    fields: dict[str, Any], omitted: tuple[str, ...]
) -> None:
    letter = of_value(json.dumps(json.loads(GOLDEN.read_bytes()) | fields).encode())
    assert letter.omitted == omitted


def test_a_key_that_is_in_neither_place_is_omitted() -> None:
    value = json.dumps(json.loads(GOLDEN.read_bytes()) | {"KeyOmitted": True}).encode()
    assert shown(Record(DLQ, 0, 0, 0, None, value)).omitted == ("key",)


def test_names_that_were_too_long_are_known_to_be_cut() -> None:
    for name in ("ConsumerGroup", "Handler"):
        cut = json.loads(GOLDEN.read_bytes()) | {name: "g" * 256 + "..."}
        assert of_value(json.dumps(cut).encode()).names_cut
        assert not of_value(json.dumps(cut | {name: "g" * 64}).encode()).names_cut
    omitted = dict.fromkeys(("PayloadOmitted", "KeyOmitted", "HeadersOmitted"), True)
    smallest = json.loads(GOLDEN.read_bytes()) | omitted | {"Handler": "h" * 64}
    assert of_value(json.dumps(smallest).encode()).names_cut


def test_texts_are_not_cut_when_whole_and_cut_in_a_list() -> None:
    value = json.dumps(
        json.loads(GOLDEN.read_bytes()) | {"ErrorMessage": "e" * MIB, "Handler": "h" * MIB}
    ).encode()
    record = Record(DLQ, 0, 0, 0, None, value)
    assert len(shown(record).error) == MIB
    assert (len(shown(record, whole=False).error), len(shown(record, whole=False).handler)) == (2000, 2000)


class TestLargeLetters:
    """The message is cut out of the letter before the rest is parsed."""

    @pytest.mark.parametrize(
        "value",
        [
            b"x" * MIB,
            json.dumps({"Note": ['"\\', ',"OriginalMessageBase64":null', "\u20ac"] * 9000}).encode(),
            "\u20ac".encode() * 200_000,
            b"\xff" * MIB,
            b'"' * MIB,
            b"\x00" * MIB,
        ],
        ids=["text", "json", "euro", "bytes", "quotes", "nulls"],
    )
    def test_it_comes_back_byte_for_byte(self, value: bytes) -> None:
        record = read(a_letter(original(value=value)))
        assert is_quickly_told(record)
        told = told_of(record)
        assert told.payload is not None
        assert told.fields["OriginalMessage"] is None
        letter = shown(record)
        assert letter.value == value
        assert (letter.group, letter.omitted) == ("payments", ())

    def test_one_that_is_not_as_we_write_it_is_read_in_a_thread(self) -> None:
        told = json.loads(dotnet(OriginalMessage="x" * MIB).value or b"")
        spaced = json.dumps(told, indent=1).encode()
        record = Record(DLQ, 0, 0, 0, None, spaced)
        assert not is_quickly_told(record)
        assert shown(record).value == b"x" * MIB

    @pytest.mark.parametrize(
        "value",
        [
            b'{"OriginalTopic":"t","OriginalMessage":"' + b"x" * QUICK_BYTES,
            b'{"OriginalTopic":"t","OriginalMessage":"'
            + b"\\" * QUICK_BYTES
            + b'","OriginalMessageBase64":null}',
            b'{"OriginalTopic":"t","OriginalMessageBase64":"' + b"!" * QUICK_BYTES + b'","ErrorMessage":"e"}',
            b',"OriginalMessageBase64":' * QUICK_BYTES,
            b',"OriginalMessage":"' * QUICK_BYTES,
        ],
        ids=range(5),
    )
    def test_what_only_looks_like_one_does_no_harm(self, value: bytes) -> None:
        letter = of_value(value)
        assert letter.kind == "unreadable" or letter.omitted == ("value",)


@given(
    value=st.binary(max_size=300),
    headers=st.lists(st.tuples(st.text(max_size=30), st.none() | st.binary(max_size=9))),
)
@examples(200)
def test_nothing_is_raised_whatever_a_record_holds(
    value: bytes, headers: list[tuple[str, bytes | None]]
) -> None:
    shown(Record("other", 3, 9, -1, None, value, tuple(headers)))


def test_a_time_that_no_calendar_holds_is_not_told() -> None:
    for at in ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-13-01T00:00:00Z", "now"):
        value = json.loads(GOLDEN.read_bytes()) | {"FailedAt": at, "OriginalTimestamp": at}
        letter = of_value(json.dumps(value).encode())
        assert letter.failed_at.isoformat() == "2026-01-01T12:00:00+00:00"
        assert letter.origin.timestamp is None


def test_the_id_in_another_topic_names_it() -> None:
    outgoing: OutgoingRecord = a_letter()
    record = Record("convex.other", 3, 9, 0, *outgoing)
    assert letter_of(record, told_of(record), DLQ, whole=False).id == "convex.other/3/9"
