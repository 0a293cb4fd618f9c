"""Replay, discard, reopen: what is decided stands apart from who acts on it."""

from __future__ import annotations

from convex_messaging_fastapi.operations.replaying.actions import Actions, Asked
from convex_messaging_fastapi.operations.replaying.choosing import MAX_REPLAYS
from convex_messaging_fastapi.operations.replaying.jobs import Job, JobStatus
from convex_messaging_fastapi.operations.replaying.scanned import ScannedLetters
from convex_messaging_fastapi.operations.replaying.targets import To

__all__ = ["MAX_REPLAYS", "Actions", "Asked", "Job", "JobStatus", "ScannedLetters", "To"]
