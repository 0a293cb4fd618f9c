"""The correlation id of the message being handled, so that what a handler publishes carries it on."""

from __future__ import annotations

from contextvars import ContextVar

current_correlation_id: ContextVar[str | None] = ContextVar("convex_messaging_correlation_id", default=None)
