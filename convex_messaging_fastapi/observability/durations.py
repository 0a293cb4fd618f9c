"""How long things took, counted in buckets; each bucket remembers one trace that fell into it."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from convex_messaging_fastapi.measuring import BOUNDARIES

EXEMPLAR_SECONDS = 1.0
"""A bucket asks for another trace no sooner: to ask costs more than to count."""


class Exemplar(NamedTuple):
    """One that was counted: its trace, its duration in seconds, and its time since 1970."""

    trace_id: str
    seconds: float
    at: float


class Durations:
    """A histogram. Written on one thread, and read on any."""

    __slots__ = ("_due", "counts", "exemplars", "seconds")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BOUNDARIES) + 1)
        self.exemplars: list[Exemplar | None] = [None] * (len(BOUNDARIES) + 1)
        self.seconds: float = 0.0
        self._due: list[float] = [0.0] * (len(BOUNDARIES) + 1)

    def note(self, took: float, at: float) -> bool:
        """Count one that took so many seconds and ended `at`; whether an exemplar of it is wanted."""
        index = bisect_left(BOUNDARIES, took)
        self.counts[index] += 1
        self.seconds += took
        if at < self._due[index]:
            return False
        self._due[index] = at + EXEMPLAR_SECONDS
        return True

    def remember(self, exemplar: Exemplar) -> None:
        self.exemplars[bisect_left(BOUNDARIES, exemplar.seconds)] = exemplar

    def with_those_of(self, other: Durations) -> Durations:
        """Both together, as they are now."""
        both = Durations()
        both.counts = [one + another for one, another in zip(self.counts, list(other.counts), strict=True)]
        both.exemplars = [new or old for new, old in zip(other.exemplars, self.exemplars, strict=True)]
        both.seconds = self.seconds + other.seconds
        return both
