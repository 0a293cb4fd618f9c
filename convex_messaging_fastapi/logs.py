"""For your own log lines: which message, or which request, each of them is about."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from convex_messaging_fastapi.observability.tracing import trace_headers, trace_id
from convex_messaging_fastapi.publishing.correlation import cause_of, current_message
from convex_messaging_fastapi.reports.mentions import about
from convex_messaging_fastapi.wiring import current_subscription

NAMES = (
    "topic",
    "partition",
    "offset",
    "group",
    "handler",
    "attempt",
    "exception_type",
    "message_id",
    "correlation_id",
    "trace_id",
)
"""The names that a line about a message has in this package's own log."""

_NOTHING: Mapping[str, Any] = dict.fromkeys(NAMES)


class CorrelationFilter(logging.Filter):
    """Gives every log line what it belongs to, as attributes that a formatter may name.

        handler.addFilter(CorrelationFilter())

    `correlation_id` and `trace_id` in requests and in handlers; in handlers also `message_id`, `topic`,
    `partition`, `offset`, `group` and `handler`, of a batch those of its first message. `attempt` and
    `exception_type` are known in this package's own lines alone. What is not known is `None`, so a format
    may name all of them. What a line says of itself is kept. It passes every line. Put it on a handler: a
    filter of a logger does not see the lines of the loggers below.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _told().items():
            if getattr(record, name, None) is None:
                setattr(record, name, value)
        return True


def _told() -> dict[str, Any]:
    trace, message, subscription = trace_headers(), current_message.get(), current_subscription.get()
    if message is None:
        return {
            **_NOTHING,
            "correlation_id": cause_of(None, trace).correlation_id,
            "trace_id": trace_id(trace),
        }
    told = {**_NOTHING, **about(message)}
    told["trace_id"] = trace_id(trace) or told["trace_id"]
    if subscription is not None:
        told |= {"group": subscription.config.group, "handler": subscription.config.id}
    return told
