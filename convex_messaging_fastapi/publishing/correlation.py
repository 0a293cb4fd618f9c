"""The correlation and causation ids of a published message: from the message or request being handled."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

from convex_messaging_fastapi.messages.headers import CORRELATION_ID, MESSAGE_ID
from convex_messaging_fastapi.observability.tracing import trace_id
from convex_messaging_fastapi.records import Record

# The record, not its id: reading headers costs, and most handlers publish nothing.
current_message: ContextVar[Record | None] = ContextVar("convex_messaging_message", default=None)

current_request_id: ContextVar[str | None] = ContextVar("convex_messaging_request_id", default=None)
"""The checked id of the HTTP request being served; see `CorrelationMiddleware`."""

LONGEST = 256
"""Characters of an id that are carried on: others may have written a megabyte."""

_LONGEST_BYTES = 4 * LONGEST
_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:/+=-]{{1,{LONGEST}}}")
_OF_ANOTHER_MIDDLEWARE = "asgi_correlation_id.context"


class Cause(NamedTuple):
    """The ids that a published message carries on, where there are any."""

    correlation_id: str | None
    causation_id: str | None


def cause_of(correlation_id: str | None, trace: Mapping[str, str]) -> Cause:
    """`correlation_id` is the caller's choice, `trace` the headers of the active span.

    The caller's choice wins, then the id of the message being handled, of the request being served, of
    the trace. Without any of these the message's own id is used.
    """
    record = current_message.get()
    if record is not None:
        if not correlation_id:
            correlation_id = _carried(record, CORRELATION_ID)
        return Cause(correlation_id or _from_outside(trace), _carried(record, MESSAGE_ID))
    return Cause(correlation_id or _from_outside(trace), None)


def checked_request_id(value: str) -> str | None:
    """The id of a request if it is valid, which is up to 256 letters, digits and `._:/+=-`; else `None`."""
    return value if _REQUEST_ID.fullmatch(value) else None


def _from_outside(trace: Mapping[str, str]) -> str | None:
    return current_request_id.get() or _of_another_middleware() or trace_id(trace)


def _of_another_middleware() -> str | None:
    """The id that asgi-correlation-id has. It is not imported here: an app that uses it has done so."""
    if (module := sys.modules.get(_OF_ANOTHER_MIDDLEWARE)) is None:
        return None
    variable = getattr(module, "correlation_id", None)
    value = variable.get(None) if isinstance(variable, ContextVar) else None
    return checked_request_id(value) if isinstance(value, str) else None


def _carried(record: Record, wanted: str) -> str | None:
    for name, value in reversed(record.headers):
        if name == wanted and value is not None:
            # Cut as bytes first, where a character may lose its end and be replaced.
            return value[:_LONGEST_BYTES].decode("utf-8", "replace")[:LONGEST]
    return None
