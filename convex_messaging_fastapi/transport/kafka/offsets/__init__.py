"""Offsets: what is held and from where on, where reading starts or goes on, and what is committed."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.offsets.course import Course
from convex_messaging_fastapi.transport.kafka.offsets.history import History
from convex_messaging_fastapi.transport.kafka.offsets.lookup import OffsetLookup
from convex_messaging_fastapi.transport.kafka.offsets.marks import unmarked
from convex_messaging_fastapi.transport.kafka.offsets.ownership import (
    EngineListener,
    Holding,
    Ownership,
)
from convex_messaging_fastapi.transport.kafka.offsets.positions import Moves, targets
from convex_messaging_fastapi.transport.kafka.offsets.storing import Storing

__all__ = [
    "Course",
    "EngineListener",
    "History",
    "Holding",
    "Moves",
    "OffsetLookup",
    "Ownership",
    "Storing",
    "targets",
    "unmarked",
]
