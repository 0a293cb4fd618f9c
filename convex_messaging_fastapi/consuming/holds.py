"""Why nothing more of a partition or topic is fetched for now: each hold has an owner and a reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    """`until` is a time of the clock, in its seconds; without it the hold lasts until its owner lifts it."""

    reason: str
    until: float | None = None


class Holds:
    """The holds on one partition, or on one topic. An owner has one here at most, and alone may lift it.

    A partition is held, too, while its topic is, whose holds are `of_topic`. What was fetched before is
    handled all the same.
    """

    __slots__ = ("_by_owner", "_now", "_of_topic")

    def __init__(self, now: Callable[[], float], of_topic: Holds | None = None) -> None:
        self._now = now
        self._of_topic = of_topic
        self._by_owner: dict[Hashable, Hold] = {}

    def place(self, owner: Hashable, hold: Hold) -> None:
        """In place of an earlier one of this owner."""
        self._by_owner[owner] = hold

    def lift(self, owners: Iterable[Hashable]) -> None:
        """Harmless for those that have none."""
        if self._by_owner:
            for owner in owners:
                self._by_owner.pop(owner, None)

    @property
    def owners(self) -> Collection[Hashable]:
        """Whose hold was not lifted, whether or not it has ended."""
        return self._by_owner.keys()

    @property
    def first(self) -> Hold | None:
        """The earliest that has not ended, the partition's before its topic's. Any thread may ask."""
        if self._by_owner:
            now = self._now()
            for hold in tuple(self._by_owner.values()):
                if hold.until is None or now < hold.until:
                    return hold
        return None if self._of_topic is None else self._of_topic.first
