"""The trace that a message is published in, as W3C headers, where OpenTelemetry is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from convex_messaging_fastapi.records import Record

TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?![0-9a-f])")
"""What W3C writes: the ids of the trace and of the span, and flags, of which the last bit says sampled."""

BAGGAGE = "baggage"

FORWARDS_BAGGAGE = "convex-messaging-forwards-baggage"
"""What is published in a context of OpenTelemetry that has this takes its baggage along."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


def trace_headers() -> Mapping[str, str]:
    """`traceparent` and `tracestate` of the span that is active here; empty where there is none.

    Baggage is left out unless that was asked for: it may hold what was not meant for other services.
    """
    return _reader()()


@cache
def _reader() -> Callable[[], Mapping[str, str]]:
    try:
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.context import get_value
        from opentelemetry.trace import INVALID_SPAN, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return lambda: _NOTHING
    propagator, baggage = TraceContextTextMapPropagator(), W3CBaggagePropagator()

    def read() -> Mapping[str, str]:
        if get_current_span() is INVALID_SPAN:
            return _NOTHING  # the usual case: nothing is traced
        headers: dict[str, str] = {}
        propagator.inject(headers)
        if get_value(FORWARDS_BAGGAGE):
            baggage.inject(headers)
        return headers

    return read


def trace_id(trace: Mapping[str, str]) -> str | None:
    """The trace that such headers tell."""
    return trace.get("traceparent", "").partition("-")[2].partition("-")[0] or None


def sampled_trace_id(record: Record | None) -> str | None:
    """The id of a trace that can be looked up: of the active span, or else of the one that sent `record`."""
    told = trace_headers().get("traceparent")
    value = told.encode() if told is not None else _sent_in(record) if record is not None else None
    found = None if value is None else TRACEPARENT.match(value)
    return found[1].decode() if found is not None and int(found[3], 16) & 1 else None


def is_of_the_api(provider: object) -> bool:
    """Whether a provider of OpenTelemetry is not of an SDK: what it makes does nothing, at some cost."""
    return type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


def _sent_in(record: Record) -> bytes | None:
    return next((value for name, value in reversed(record.headers) if name == "traceparent"), None)
