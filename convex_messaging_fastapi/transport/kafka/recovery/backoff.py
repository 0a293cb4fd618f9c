"""How long a supervisor waits before it starts an engine again."""

from __future__ import annotations

import random

from convex_messaging_fastapi.transport.kafka.tuning import Tuning


class Backoff:
    """Seconds before the next start: none at first, then doubling, less a random share of up to a fifth."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._failures = 0
        self._forgiven = False

    def failed(self) -> None:
        self._failures += 1

    def forgive(self) -> None:
        """The end of the engine that runs now is not the cluster's fault."""
        self._forgiven = True

    def lived(self, seconds: float) -> None:
        """An engine has ended after it ran for `seconds`."""
        if self._forgiven or seconds > self._tuning.lived_long_seconds:
            self._failures = 0
        else:
            self._failures += 1
        self._forgiven = False

    def pause(self, *, refused: bool) -> float:
        """Seconds to wait now. After a refusal they are more, because fast logins lock accounts."""
        if not self._failures:
            return 0.0
        t = self._tuning
        first, cap = (
            (t.refused_retry_seconds, t.refused_cap_seconds)
            if refused
            else (t.retry_seconds, t.retry_cap_seconds)
        )
        return min(cap, first * 2.0 ** min(self._failures - 1, 16)) * random.uniform(0.8, 1.0)
