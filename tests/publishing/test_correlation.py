"""What a message that is handled hands on to those that its handler publishes: an id, and no more of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.publishing import outgoing as outgoing_module
from convex_messaging_fastapi.publishing.correlation import (
    LONGEST,
    cause_of,
    checked_request_id,
    current_message,
    current_request_id,
)
from convex_messaging_fastapi.publishing.outgoing import outgoing, outgoing_many, outgoing_tombstone
from convex_messaging_fastapi.records import Headers, Record, header_text, size_of_headers

MIB = 1024 * 1024
OURS_ALONE = 2_000
"""All that we write beside a correlation id is less."""


def handling(*headers: tuple[str, bytes | None]) -> None:
    current_message.set(Record("t", 0, 0, 0, None, b"{}", headers))


def handed_on() -> str | None:
    return cause_of(None, {}).correlation_id


@pytest.fixture(autouse=True)
def _nothing_is_handled_afterwards() -> Iterator[None]:
    token, of_request = current_message.set(None), current_request_id.set(None)
    yield
    current_message.reset(token)
    current_request_id.reset(of_request)


def test_outside_a_handler_there_is_none() -> None:
    assert handed_on() is None


@given(st.text(max_size=LONGEST))
def test_one_of_256_characters_is_handed_on_as_it_is(id: str) -> None:
    handling(("correlation-id", id.encode()))
    assert handed_on() == (id or None)


@given(
    st.binary(max_size=4 * MIB // 1000) | st.sampled_from([b"x" * MIB, "😀".encode() * 300, b"\xff" * MIB])
)
def test_whatever_it_is_it_is_cut_to_256_characters(id: bytes) -> None:
    handling(("correlation-id", b"older"), ("correlation-id", id), ("correlation-id", None))
    assert handed_on() == (id.decode("utf-8", "replace")[:LONGEST] or None)


HOSTILE: list[Headers] = [
    (("correlation-id", b"x" * MIB),),
    (("correlation-id", b"\xff" * MIB),),
    (("message-id", b"\xff" * MIB), ("message-type", b"x" * MIB), ("traceparent", b"x" * MIB)),
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


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SOURCES = ("the caller", "the message", "the request", "another middleware", "the trace")
"""Each wins over those that come after it."""


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> ContextVar[str | None]:
    """The variable of a package that somebody else has imported."""
    variable: ContextVar[str | None] = ContextVar("another", default=None)
    module = ModuleType("asgi_correlation_id.context")
    module.correlation_id = variable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "asgi_correlation_id.context", module)
    return variable


@pytest.mark.parametrize("there", range(1 << len(SOURCES)))
async def test_the_nearest_source_of_an_id_wins_by_every_verb(
    there: int, another: ContextVar[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [name for bit, name in enumerate(SOURCES) if there >> bit & 1]
    if "the message" in given:
        handling(("correlation-id", b"the message"))
    if "the request" in given:
        current_request_id.set("the request")
    if "another middleware" in given:
        another.set("another-middleware")
    traced = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"} if "the trace" in given else {}
    monkeypatch.setattr(outgoing_module, "trace_headers", lambda: traced)
    own = "the caller" if "the caller" in given else None

    many = await outgoing_many([{}, {}], None, None, own, 0)
    for record in (outgoing({}, None, None, own, 0), many[0], many[1]):
        carried = header_text(record.headers, "correlation-id")
        if not given:
            assert carried == header_text(record.headers, "message-id")
        else:
            told = {"another middleware": "another-middleware", "the trace": TRACE}
            assert carried == told.get(given[0], given[0])
    if "the caller" not in given:
        tombstone = outgoing_tombstone("k", None, 0)
        assert len(given) == 0 or header_text(tombstone.headers, "correlation-id") == carried


@pytest.mark.parametrize("value", [None, "", "x" * 257, "a\r\nb", "a b", "é", 5])
def test_what_another_middleware_holds_is_ignored_where_it_is_no_id(
    value: str | None, another: ContextVar[str | None]
) -> None:
    another.set(value)
    headers = outgoing({}, None, None, None, 0).headers
    assert header_text(headers, "correlation-id") == header_text(headers, "message-id")


@pytest.mark.parametrize("module", [ModuleType("empty"), None])
def test_a_package_of_another_shape_is_no_source(
    module: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asgi_correlation_id.context", module)
    assert header_text(outgoing({}, None, None, None, 0).headers, "correlation-id")


@given(st.text(max_size=300))
def test_an_id_of_a_request_is_taken_as_it_is_or_not_at_all(text: str) -> None:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/+=-"
    is_one = 0 < len(text) <= LONGEST and all(letter in letters for letter in text)
    assert checked_request_id(text) == (text if is_one else None)


@pytest.mark.parametrize("text", ["a\n", "\na", "a" * 256, "a" * 257, "A.z:0/9+=-_"])
def test_the_ends_of_an_id_count(text: str) -> None:
    is_one = len(text) <= LONGEST and "\n" not in text
    assert checked_request_id(text) == (text if is_one else None)


@pytest.mark.parametrize("id", [b"m-1", b"x" * MIB, b"\xff" * MIB])
async def test_the_message_that_is_handled_is_the_cause_of_what_its_handler_publishes(id: bytes) -> None:
    handling(("message-id", id))
    many = await outgoing_many([{}], None, None, None, 0)
    for written in (outgoing({}, None, None, None, 0), many[0], outgoing_tombstone("k", None, 0)):
        assert header_text(written.headers, "causation-id") == id.decode("utf-8", "replace")[:LONGEST]
    own = outgoing({}, None, {"causation-id": "mine"}, None, 0).headers
    assert [value for name, value in own if name == "causation-id"] == [b"mine"]


def test_without_a_message_nothing_is_the_cause() -> None:
    current_request_id.set("a-request")
    assert header_text(outgoing({}, None, None, None, 0).headers, "causation-id") is None
    handling()
    assert header_text(outgoing({}, None, None, None, 0).headers, "causation-id") is None
