"""Whatever comes from outside, each reader answers or raises its own error, which repeats none of it."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from convex_messaging_fastapi import ConvexMessage, Delivery
from convex_messaging_fastapi.errors import ConfigurationError, DecodeError, EncodeError
from convex_messaging_fastapi.messages import (
    DeadLetterMessage,
    codec_for,
    dead_letter_topic,
    outgoing_headers,
    topic_on_wire,
)
from convex_messaging_fastapi.messages.dead_letter import as_text, from_text
from convex_messaging_fastapi.messages.decimals import restored
from convex_messaging_fastapi.records import Headers, Record
from tests.support.examples import examples

FEW = examples(100)
SECRET = "s3cr3t"

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([SECRET, "", "1", "2026-01-01"])
)
names = st.sampled_from(["BetId", "Stake", "Tags", "Who", "who", "value", SECRET])
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
any_text = st.text(st.characters(exclude_categories=()))


class Better(ConvexMessage):
    who: str


class BetPlaced(ConvexMessage):
    bet_id: int
    stake: Decimal
    who: Better
    tags: dict[str, int] = {}


class Plain(BaseModel):
    value: float
    who: list[int]


@pytest.mark.parametrize(
    "annotation", [BetPlaced, Plain, DeadLetterMessage, dict[str, int], list[Plain], int]
)
def test_no_complaint_repeats_what_a_message_said(annotation: Any) -> None:
    decode = codec_for(annotation).decode

    @FEW
    @given(documents, st.sampled_from(["", "}", f'"{SECRET}']))
    def check(document: Any, behind: str) -> None:
        said = ""
        try:
            decode((json.dumps(document) + behind).encode())
        except DecodeError as error:
            said = "".join(traceback.format_exception(error))
        assert SECRET not in said

    check()


@FEW
@given(
    fields=st.fixed_dictionaries(
        {"OriginalTopic": st.text(), "ErrorMessage": st.text(), "FailedAt": st.just("2026-01-01T00:00:00Z")},
        optional={
            "OriginalMessage": st.none() | st.text(),
            "OriginalMessageBase64": st.none() | st.text(max_size=8),
            "OriginalKey": st.none() | st.text(),
            "OriginalKeyBase64": st.none() | st.text(max_size=8),
            "OriginalHeaders": st.lists(
                st.fixed_dictionaries(
                    {"Name": st.text()}, optional={"Value": st.text(), "ValueBase64": st.text(max_size=8)}
                ),
                max_size=3,
            ),
            "PayloadOmitted": st.booleans(),
            "KeyOmitted": st.booleans(),
            "HeadersOmitted": st.booleans(),
            "ReplayCount": st.integers(),
        },
    )
)
@example(fields={"OriginalTopic": "a", "ErrorMessage": "b", "FailedAt": "c"})
def test_a_letter_of_anyone_gives_back_an_original_or_says_that_it_cannot(fields: dict[str, Any]) -> None:
    with suppress(DecodeError):
        letter = codec_for(DeadLetterMessage).decode(json.dumps(fields).encode())
        for read in (letter.original_value, letter.original_key, letter.original_headers):
            with suppress(DecodeError):
                read()


def test_half_a_surrogate_pair_is_no_text_of_a_letter() -> None:
    fields = {"OriginalTopic": "a", "ErrorMessage": "b", "FailedAt": "2026-01-01T00:00:00Z"}
    with pytest.raises(DecodeError):
        codec_for(DeadLetterMessage).decode(json.dumps({**fields, "OriginalMessage": "\ud800"}).encode())


@FEW
@given(st.none() | st.binary())
def test_any_bytes_stand_in_a_letter_as_text_or_in_base64(value: bytes | None) -> None:
    text, in_base64 = as_text(value)
    assert from_text(text, in_base64) == value
    assert text is None or in_base64 is None


@FEW
@given(st.none() | st.text(), any_text)
def test_base64_that_is_none_is_told_so(text: str | None, in_base64: str) -> None:
    with suppress(DecodeError):
        from_text(text, in_base64)


@FEW
@given(st.binary())
def test_bytes_without_our_mark_are_not_touched(json: bytes) -> None:
    assert restored(json) == json


HEADER_NAMES = st.sampled_from(["correlation-id", "message-id", "traceparent", ""]) | st.text()
hostile: st.SearchStrategy[Headers] = st.lists(
    st.tuples(HEADER_NAMES, st.none() | st.binary()), max_size=6
).map(tuple)


@FEW
@given(hostile, st.none() | st.binary(), st.integers(-(2**63), 2**63 - 1))
@example((("correlation-id", None), ("correlation-id", b"\xff")), None, -1)
def test_a_delivery_shows_any_headers(headers: Headers, key: bytes | None, timestamp: int) -> None:
    delivery = Delivery(Record("bets", 0, 0, timestamp, key, b"", headers))
    last = {name: value for name, value in headers if value is not None}
    assert delivery.headers == {name: value.decode("utf-8", "replace") for name, value in last.items()}
    assert delivery.correlation_id == delivery.headers.get("correlation-id")
    assert delivery.message_id == delivery.headers.get("message-id")
    assert delivery.timestamp.tzinfo is not None
    assert delivery.record.headers == headers


@FEW
@given(
    st.dictionaries(HEADER_NAMES | any_text, any_text | st.binary() | st.none() | st.integers(), max_size=4),
    st.none() | any_text,
)
def test_headers_that_a_user_gives_are_written_or_refused(user: Any, correlation_id: str | None) -> None:
    with suppress(EncodeError):
        written = outgoing_headers(
            message_type="BetPlaced",
            unix_seconds=0,
            message_id="m",
            correlation_id=correlation_id,
            user=user,
            trace={"traceparent": "00-1-2-01"},
        )
        assert all(isinstance(value, bytes) for _, value in written)
        assert len({name for name, _ in written}) == len(written)


@FEW
@given(any_text, any_text)
def test_any_name_of_a_topic_is_taken_or_refused(prefix: str, topic: str) -> None:
    with suppress(ConfigurationError):
        assert topic_on_wire(prefix, topic).isascii()
    with suppress(ConfigurationError):
        assert dead_letter_topic(prefix).endswith("dlq")
