"""The trace that a message is published in, as W3C headers, where OpenTelemetry is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})


def trace_headers() -> Mapping[str, str]:
    """`traceparent` and `tracestate` of the span that is active here; empty where there is none.

    Baggage is left out: it may hold what was not meant for other services.
    """
    return _reader()()


@cache
def _reader() -> Callable[[], Mapping[str, str]]:
    try:
        from opentelemetry.trace import INVALID_SPAN, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return lambda: _NOTHING
    propagator = TraceContextTextMapPropagator()

    def read() -> Mapping[str, str]:
        if get_current_span() is INVALID_SPAN:
            return _NOTHING  # the usual case: nothing is traced
        headers: dict[str, str] = {}
        propagator.inject(headers)
        return headers

    return read
