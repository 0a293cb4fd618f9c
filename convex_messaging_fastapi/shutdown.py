"""How the time of a stop is shared out among its parts."""

from __future__ import annotations

from dataclasses import dataclass

LEAVE_SHARE = 0.6
"""The share of the time after the drain for committing and leaving the groups; the rest is for flushing
the producer."""

ABORT_SHARE = 0.25
"""The share of that rest for aborting what is late: half of it for each of two hard steps."""

COMPANIONS_SHARE = 0.5
"""The share of the time for flushing in which companions may still publish."""


@dataclass(frozen=True, slots=True)
class ShutdownTimeouts:
    """How long each part of a stop may take, in seconds."""

    drain: float
    shutdown: float

    @property
    def leave(self) -> float:
        """From the end of the drain until the groups must be left."""
        return (self.shutdown - self.drain) * LEAVE_SHARE

    @property
    def abort(self) -> float:
        """For each hard step, once something is late."""
        return (self.shutdown - self.drain) * (1 - LEAVE_SHARE) * ABORT_SHARE / 2
