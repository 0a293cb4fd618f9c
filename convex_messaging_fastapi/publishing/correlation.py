"""The message being handled, so that what its handler publishes carries on its correlation id."""

from __future__ import annotations

from contextvars import ContextVar

from convex_messaging_fastapi.records import Record, header_text

# The record, not its id: reading headers costs, and most handlers publish nothing.
current_message: ContextVar[Record | None] = ContextVar("convex_messaging_message", default=None)


def current_correlation_id() -> str | None:
    """The correlation id of the message being handled; `None` outside a handler."""
    record = current_message.get()
    return None if record is None else header_text(record.headers, "correlation-id")
