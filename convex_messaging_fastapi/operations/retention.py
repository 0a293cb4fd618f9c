"""For how long dead-letter topics keep what is written to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.transport.base import AdminTransport

REMEMBERED_SECONDS = 60.0


class Retention:
    """Asks the cluster once a minute at most, and only when somebody looks."""

    def __init__(self, admin: AdminTransport, clock: Clock, topics: Sequence[str]) -> None:
        self._admin, self._clock, self._topics = admin, clock, topics
        self._asked_at: float | None = None
        self._known: Mapping[str, int] = {}

    async def milliseconds(self) -> Mapping[str, int]:
        """By topic; those that keep letters for ever, or whose settings may not be read, are left out."""
        now = self._clock.now()
        if self._asked_at is None or now - self._asked_at >= REMEMBERED_SECONDS:
            told = await asyncio.gather(*map(self._admin.retention_ms, self._topics))
            pairs = zip(self._topics, told, strict=True)
            self._known = {topic: kept_ms for topic, kept_ms in pairs if kept_ms is not None and kept_ms >= 0}
            self._asked_at = now
        return self._known
