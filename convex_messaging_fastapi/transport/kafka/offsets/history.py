"""What is remembered of a group while it has a consumer: stored offsets, lost records, old member ids."""

from __future__ import annotations

from collections import deque

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Loss
from convex_messaging_fastapi.transport.kafka.engine import Ghosts
from convex_messaging_fastapi.transport.kafka.offsets.positions import Move

LOSSES_KEPT = 20


class History:
    """Outlives the consumers of its group, which are replaced when its topics change.

    `stored` has the offsets that the group is known to have stored last; `ghosts` are old member ids that it
    may still count. `lost` counts the records of all losses; `losses` are the latest, oldest first.
    """

    def __init__(self, group: str, clock: Clock) -> None:
        self._group, self._clock = group, clock
        self._losses: deque[Loss] = deque(maxlen=LOSSES_KEPT)
        self.stored: dict[TopicPartition, int] = {}
        self.ghosts: Ghosts = Ghosts()
        self.lost: int = 0

    def lose(self, where: TopicPartition, moved: Move) -> None:
        """Count and report what the move skips, and forget what was stored of that log."""
        reports.records_lost(self._group, where, moved.sentence)
        self.stored.pop(where, None)
        self._losses.append(
            Loss(where, moved.offset, moved.to, moved.lost, moved.sentence, self._clock.now())
        )
        self.lost += moved.lost

    @property
    def losses(self) -> tuple[Loss, ...]:
        return tuple(self._losses)
