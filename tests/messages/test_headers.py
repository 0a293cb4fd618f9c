"""The headers that go on the wire, and what a user may say about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.errors import EncodeError
from convex_messaging_fastapi.messages import headers_for_many, outgoing_headers
from convex_messaging_fastapi.messages.headers import RESERVED
from convex_messaging_fastapi.records import Headers

GOLDEN = Path(__file__).parent / "golden"


def headers(**changes: Any) -> Headers:
    return outgoing_headers(
        **{
            "message_type": "BetPlaced",
            "unix_seconds": 1_767_225_600.75,
            "message_id": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
            "correlation_id": "c-1",
            **changes,
        }
    )


def test_names_values_and_order_are_the_golden_ones() -> None:
    written = headers(
        user={"tenant": "es", "raw": b"\xff"},
        trace={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"},
    )
    lines = b"".join(name.encode() + b": " + (value or b"") + b"\n" for name, value in written)
    assert lines == (GOLDEN / "headers.txt").read_bytes()


def test_a_user_may_set_the_ids_and_the_trace_and_they_stand_once() -> None:
    written = headers(
        user={"message-id": "mine", "correlation-id": b"theirs", "traceparent": "t2"},
        trace={"traceparent": "t1"},
    )
    assert [name for name, _ in written] == [
        "message-type",
        "timestamp",
        "message-id",
        "correlation-id",
        "content-type",
        "traceparent",
    ]
    assert dict(written)["message-id"] == b"mine"
    assert dict(written)["correlation-id"] == b"theirs"
    assert dict(written)["traceparent"] == b"t2"


def test_of_raw_bytes_no_type_is_told_and_the_content_is_a_stream_of_octets() -> None:
    written = headers(message_type=None)
    assert [name for name, _ in written] == ["timestamp", "message-id", "correlation-id", "content-type"]
    assert dict(written)["content-type"] == b"application/octet-stream"


def test_of_raw_bytes_a_user_may_say_what_they_are() -> None:
    theirs = {"content-type": "application/vnd.confluent.avro", "message-type": b"Order"}
    written = headers(message_type=None, user=theirs)
    assert dict(written)["content-type"] == b"application/vnd.confluent.avro"
    assert dict(written)["message-type"] == b"Order"
    assert len({name for name, _ in written}) == len(written) == 5
    with pytest.raises(EncodeError, match="timestamp"):
        headers(message_type=None, user={"timestamp": "1"})


def test_in_one_call_for_many_only_bytes_may_be_described() -> None:
    headers_of = headers_for_many(
        unix_seconds=1.0, correlation_id=None, user={"content-type": "text/plain", "tenant": "es"}
    )
    assert dict(headers_of(None, b"id"))["content-type"] == b"text/plain"
    with pytest.raises(EncodeError, match="content-type"):
        headers_of("BetPlaced", b"id")


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_describes_the_bytes_cannot_be_set(name: str) -> None:
    with pytest.raises(EncodeError, match=name):
        headers(user={name: "mine"})


@pytest.mark.parametrize(
    "user", [{"a": 1}, {"a": None}, {1: "a"}, {"a": "\ud800"}, {"\ud800": "a"}], ids=repr
)
def test_what_no_header_can_carry_is_refused(user: Any) -> None:
    with pytest.raises(EncodeError, match="header"):
        headers(user=user)


@given(
    st.dictionaries(st.text().filter(lambda name: name not in RESERVED), st.text() | st.binary(), max_size=5)
)
def test_a_users_headers_arrive_as_they_were_given(user: dict[str, str | bytes]) -> None:
    written = headers(user=user)
    assert dict(written) | {
        name: value.encode() if isinstance(value, str) else value for name, value in user.items()
    } == dict(written)
    assert len({name for name, _ in written}) == len(written)
