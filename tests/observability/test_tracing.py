"""The trace of a published message: there when a span is active, nothing otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from opentelemetry import baggage, context, trace

from convex_messaging_fastapi.observability import tracing
from convex_messaging_fastapi.observability.tracing import trace_headers


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    tracing._reader.cache_clear()
    yield
    tracing._reader.cache_clear()


def test_without_a_span_there_is_nothing() -> None:
    assert trace_headers() == {}


def test_the_active_span_is_told_and_its_baggage_is_not() -> None:
    span = trace.NonRecordingSpan(
        trace.SpanContext(
            trace_id=0x0AF7651916CD43DD8448EB211C80319C,
            span_id=0xB7AD6B7169203331,
            is_remote=False,
            trace_flags=trace.TraceFlags(1),
            trace_state=trace.TraceState([("a", "1")]),
        )
    )
    token = context.attach(baggage.set_baggage("secret", "1", trace.set_span_in_context(span)))
    try:
        assert trace_headers() == {
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": "a=1",
        }
    finally:
        context.detach(token)


def test_without_the_library_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace.propagation.tracecontext", None)
    assert trace_headers() == {}
