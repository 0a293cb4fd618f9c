"""What a worker owns now: from the moment the transport assigns it until that ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.assignment import Assignment, OwnedPartition
from convex_messaging_fastapi.consuming.holds import Holds
from convex_messaging_fastapi.consuming.opening import Opening, report_passed_over
from convex_messaging_fastapi.events import Rebalanced
from convex_messaging_fastapi.observers import Observers
from convex_messaging_fastapi.records import Lease, TopicPartition
from convex_messaging_fastapi.transport.base import Position

_NO_EPOCH = -1


def _nothing() -> Assignment:
    return Assignment(_NO_EPOCH, Lease(_NO_EPOCH))


class CurrentAssignment:
    """The assignment of one worker; `revision` counts how many there were."""

    def __init__(self, group: str, clock: Clock, max_uncommitted: int, observers: Observers) -> None:
        self._group = group
        self._observers = observers
        self._clock = clock
        self._opening = Opening(clock, max_uncommitted)
        self.now: Assignment = _nothing()
        self.revision: int = 0
        self._revoked_at: float | None = None
        self._holds_of_topics: dict[str, Holds] = {}

    @property
    def partitions(self) -> Collection[OwnedPartition]:
        return self.now.partitions.values()

    @property
    def revoked_seconds(self) -> float | None:
        """How long ago partitions were taken away, while no others have come; `None` when some have."""
        return None if self._revoked_at is None else self._clock.now() - self._revoked_at

    def holds_of(self, topic: str) -> Holds:
        """The holds on a whole topic: they outlast an assignment, as those on a partition do not."""
        if topic not in self._holds_of_topics:
            self._holds_of_topics[topic] = Holds(self._clock.now)
        return self._holds_of_topics[topic]

    def begin(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        lease = Lease(epoch)
        opened = {where: self._opening.open(position) for where, position in positions.items()}
        report_passed_over(self._group, opened)
        owned = {
            where: OwnedPartition(where, lease, each.ledger, self._holds_on(where))
            for where, each in opened.items()
        }
        self.now = Assignment(epoch, lease, owned)
        gained, is_first = frozenset(positions), self.revision == 0
        self._observers.rebalanced(Rebalanced(self._group, gained=gained, is_first=is_first))
        self.revision += 1
        self._revoked_at = None

    def tell_given_up(self, at_work: int, *, is_lost: bool) -> None:
        """These partitions are not ours any more, while so many handlers are at work on them."""
        if given_up := frozenset(self.now.partitions):
            event = Rebalanced(self._group, given_up=given_up, at_work=at_work, is_lost=is_lost)
            self._observers.rebalanced(event)

    def note_revoked(self) -> None:
        """The partitions are being taken away; others are to come."""
        self._revoked_at = self._clock.now()

    def end(self) -> None:
        self.now = _nothing()

    def _holds_on(self, where: TopicPartition) -> Holds:
        return Holds(self._clock.now, self.holds_of(where.topic))
