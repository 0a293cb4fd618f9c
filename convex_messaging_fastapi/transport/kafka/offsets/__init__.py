"""Offsets: what is held and from where on, where reading starts or goes on, and what is committed."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.offsets.history import History
from convex_messaging_fastapi.transport.kafka.offsets.lookup import Asking
from convex_messaging_fastapi.transport.kafka.offsets.ownership import (
    EngineListener,
    Holding,
    Nobody,
    Ownership,
)
from convex_messaging_fastapi.transport.kafka.offsets.positions import Move, Moves, Starts, passed, targets
from convex_messaging_fastapi.transport.kafka.offsets.storing import Storing

__all__ = [
    "Asking",
    "EngineListener",
    "History",
    "Holding",
    "Move",
    "Moves",
    "Nobody",
    "Ownership",
    "Starts",
    "Storing",
    "passed",
    "targets",
]
