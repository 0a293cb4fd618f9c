"""Calling a handler with what it asks for, by a plan that is made once."""

from __future__ import annotations

from convex_messaging_fastapi.consuming.calling.plan import CallPlan, compile_call
from convex_messaging_fastapi.consuming.calling.surroundings import Surroundings

__all__ = ["CallPlan", "Surroundings", "compile_call"]
