"""Calling a handler with what it asks for, by a plan that is made once."""

from __future__ import annotations

from convex_messaging_fastapi.consuming.calling.call_context import CallContext
from convex_messaging_fastapi.consuming.calling.plan import CallPlan, compile_call

__all__ = ["CallContext", "CallPlan", "compile_call"]
