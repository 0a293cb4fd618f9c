"""How many may have something read from the cluster at once."""

from __future__ import annotations

from convex_messaging_fastapi.console.security.refused import Refused

MOST = 16


class Callers:
    """Of one console, in one process."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._here = most, 0

    def come(self) -> None:
        """One more, until it calls `go`. Raises `Refused` where there are too many already."""
        if self._here >= self._most:
            raise Refused(
                429,
                "Too many are looking at once.",
                "Reload the page in a few seconds.",
                retry_after=2,
            )
        self._here += 1

    def go(self, *_: object) -> None:
        self._here -= 1
