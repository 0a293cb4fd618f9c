"""Learns how large a dead letter may be from what its topic takes. Pure: it asks and writes nothing."""

from __future__ import annotations

USUAL_BYTES = 1_048_588 - 1024
"""A little less than a topic with Kafka's defaults takes: the best guess once a dead letter was too large."""

FORGET_SECONDS = 60.0
"""A refusal older than this is forgotten: the topic may be another one, or altered."""

SMALL_BYTES = 64 * 1024
FORGET_SMALL_SECONDS = 1.0
"""For refusals below `SMALL_BYTES`: trying again costs little, and a raised limit counts soon."""

_STEP = 64
"""A topic that refuses less than its limit counts bytes differently; 1/64 less fits."""


class SizeLimit:
    """Learns from dead letters that were taken or refused, and from what the cluster says of the topic.

    `largest` is the most bytes that any dead letter may have, as `building.size_of` counts them. Times
    are the clock's.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._told: int | None = None
        self._taken = 0
        self._refused: int | None = None
        self._refused_at = 0.0

    def at(self, now: float) -> int:
        """The most bytes that the next dead letter should have."""
        if self._refused is not None and now - self._refused_at >= _remembered_seconds(self._refused):
            self._refused = None
        limit = self._largest if self._told is None else min(self._largest, self._told)
        if self._refused is None:
            return limit
        return min(limit, max(self._taken, self._below(self._refused)))

    def is_refused(self, size: int) -> bool:
        """Whether the topic is known to refuse this many bytes."""
        return size > (self._told or size) or (self._refused is not None and size >= self._refused)

    def _below(self, refused: int) -> int:
        if self._told is not None:
            return refused - refused // _STEP - 1
        half = refused // 2
        return USUAL_BYTES if half < USUAL_BYTES < refused else half

    def told(self, limit: int | None) -> None:
        """The limit that the cluster tells now; `None` when it tells none."""
        if limit is not None and limit != self._told:
            self._taken, self._refused = min(self._taken, limit), None
        self._told = limit

    def taken(self, size: int) -> None:
        """A dead letter of `size` bytes was written."""
        self._taken = max(self._taken, size)
        if self._refused is not None and self._refused <= size:
            self._refused = None

    def refused(self, size: int, now: float) -> None:
        """A dead letter of `size` bytes was too large."""
        self._refused = size if self._refused is None else min(self._refused, size)
        self._refused_at = now
        if self._taken >= size:
            self._taken = 0  # the topic takes less than it did


def _remembered_seconds(size: int) -> float:
    return FORGET_SMALL_SECONDS if size < SMALL_BYTES else FORGET_SECONDS
