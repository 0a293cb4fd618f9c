"""What a message that is handled hands on to those that its handler publishes: an id, and no more of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.publishing.correlation import LONGEST, current_correlation_id, current_message
from convex_messaging_fastapi.publishing.outgoing import outgoing, outgoing_many, outgoing_tombstone
from convex_messaging_fastapi.records import Headers, Record, header_text, size_of_headers

MIB = 1024 * 1024
OURS_ALONE = 2_000
"""All that we write beside a correlation id is less."""


def handling(*headers: tuple[str, bytes | None]) -> None:
    current_message.set(Record("t", 0, 0, 0, None, b"{}", headers))


@pytest.fixture(autouse=True)
def _nothing_is_handled_afterwards() -> Iterator[None]:
    token = current_message.set(None)
    yield
    current_message.reset(token)


def test_outside_a_handler_there_is_none() -> None:
    assert current_correlation_id() is None


@given(st.text(max_size=LONGEST))
def test_one_of_256_characters_is_handed_on_as_it_is(id: str) -> None:
    handling(("correlation-id", id.encode()))
    assert current_correlation_id() == id


@given(
    st.binary(max_size=4 * MIB // 1000) | st.sampled_from([b"x" * MIB, "😀".encode() * 300, b"\xff" * MIB])
)
def test_whatever_it_is_it_is_cut_to_256_characters(id: bytes) -> None:
    handling(("correlation-id", b"older"), ("correlation-id", id), ("correlation-id", None))
    assert current_correlation_id() == id.decode("utf-8", "replace")[:LONGEST]


HOSTILE: list[Headers] = [
    (("correlation-id", b"x" * MIB),),
    (("correlation-id", b"\xff" * MIB),),
    (("message-id", b"x" * MIB), ("message-type", b"x" * MIB), ("traceparent", b"x" * MIB)),
    (("tracestate", b"x" * MIB), ("x-convex-replay-count", b"9" * MIB), ("n" * MIB, b"")),
]


@pytest.mark.parametrize("headers", HOSTILE, ids=range(len(HOSTILE)))
async def test_nothing_else_of_a_message_is_handed_on_by_any_verb(headers: Headers) -> None:
    handling(*headers)
    many = await outgoing_many([{"n": 1}, {"n": 2}], None, None, None, 0)
    for written in (outgoing({}, None, None, None, 0), many[0], many[1], outgoing_tombstone("k", None, 0)):
        assert size_of_headers(written.headers) < OURS_ALONE
    assert many.sizes[0] == size_of_headers(many[0].headers) + len(many[0].value or b"")


def test_one_that_a_caller_gives_is_the_callers_and_stays_as_it_is() -> None:
    handling(("correlation-id", b"of the message"))
    own = "y" * 1000
    assert header_text(outgoing({}, None, None, own, 0).headers, "correlation-id") == own
