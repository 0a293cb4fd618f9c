"""The message being handled, so that what its handler publishes carries on its correlation id."""

from __future__ import annotations

from contextvars import ContextVar

from convex_messaging_fastapi.messages.headers import CORRELATION_ID
from convex_messaging_fastapi.records import Record

# The record, not its id: reading headers costs, and most handlers publish nothing.
current_message: ContextVar[Record | None] = ContextVar("convex_messaging_message", default=None)


LONGEST = 256
"""Characters of an id that are carried on: whoever wrote it may have written a megabyte."""

_LONGEST_BYTES = 4 * LONGEST


def current_correlation_id() -> str | None:
    """The correlation id of the message being handled, cut to 256 characters; `None` outside a handler."""
    record = current_message.get()
    if record is None:
        return None
    for name, value in reversed(record.headers):
        if name == CORRELATION_ID and value is not None:
            # Cut as bytes first, where a character of four may lose its end and be replaced.
            return value[:_LONGEST_BYTES].decode("utf-8", "replace")[:LONGEST]
    return None
