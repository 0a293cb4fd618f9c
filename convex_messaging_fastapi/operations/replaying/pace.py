"""How fast letters are replayed, and how far ahead of those who handle them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MOST_AT_ONCE = 250
MOST_AT_ONCE_TO_TOPIC = 50
"""In the original's own topic a replayer that dies amid a transaction holds up live readers."""

_SLICES_A_SECOND = 10
_LEAST_AHEAD = 250
_AHEAD_SECONDS = 20
_CATCH_UP_SECONDS = 1.0


def slice_size(rate: float, *, to_topic: bool = False) -> int:
    """How many letters a transaction has at a rate of so many a second."""
    most = MOST_AT_ONCE_TO_TOPIC if to_topic else MOST_AT_ONCE
    return max(1, min(most, int(rate / _SLICES_A_SECOND)))


def most_ahead(rate: float) -> int:
    """How many copies may be out that their group has not settled."""
    return max(_LEAST_AHEAD, int(_AHEAD_SECONDS * rate))


@dataclass(slots=True)
class Pace:
    """When the next letters are due, at `rate` a second; times are the clock's seconds.

    What falls behind is caught up on, for a second's worth at most: a broker that was away for a minute
    does not bring a minute's letters at once.
    """

    rate: float
    _due: float | None = None

    def wait(self, now: float) -> float:
        """How many seconds there are until the next letters may go."""
        return 0.0 if self._due is None else max(0.0, self._due - now)

    def went(self, count: int, now: float) -> None:
        """So many have gone."""
        due = now if self._due is None else max(self._due, now - _CATCH_UP_SECONDS)
        self._due = due + count / self.rate
