"""Groups: one member, what it commits and has committed, and what is left of members before it."""

from __future__ import annotations

from convex_messaging_fastapi.transport.kafka.engine.groups.commits import Identity, NotStored
from convex_messaging_fastapi.transport.kafka.engine.groups.described import described, listed
from convex_messaging_fastapi.transport.kafka.engine.groups.ghosts import Ghosts
from convex_messaging_fastapi.transport.kafka.engine.groups.member import Member
from convex_messaging_fastapi.transport.kafka.engine.groups.stored import stored_by

__all__ = [
    "Ghosts",
    "Identity",
    "Member",
    "NotStored",
    "described",
    "listed",
    "stored_by",
]
