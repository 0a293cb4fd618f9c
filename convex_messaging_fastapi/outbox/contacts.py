"""Whether the database answers, and how long to wait before it is asked again."""

from __future__ import annotations

from collections.abc import Callable

from convex_messaging_fastapi import reports

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 2.0


class DatabaseContact:
    """Notes each failure and answer; a line is logged when the first fails, and when it answers again."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._wait = FIRST_WAIT_SECONDS
        self._lost_at: float | None = None
        self.problem: str | None = None

    def answered(self) -> None:
        if self._lost_at is not None:
            reports.outbox_database_regained(self._now() - self._lost_at)
        self._lost_at = self.problem = None
        self._wait = FIRST_WAIT_SECONDS

    def failed(self, error: Exception) -> float:
        """Returns seconds to wait."""
        # The text of a driver may hold parameters, which are payload.
        self.problem = type(getattr(error, "orig", None) or error).__name__
        if self._lost_at is None:
            self._lost_at = self._now()
            reports.outbox_database_lost(self.problem)
        wait, self._wait = self._wait, min(LONGEST_WAIT_SECONDS, self._wait * 2)
        return wait
