"""What is remembered of a group while it has a consumer: what it has stored, and what it has lost."""

from __future__ import annotations

from collections import deque

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Loss
from convex_messaging_fastapi.transport.kafka.engine import Ghosts

LOSSES_KEPT = 20


class History:
    """Outlives the consumers of its group, which come and go with the topics that are subscribed to.

    `stored` are the positions that the group is known to have had last, `ghosts` are members of ours that
    may be left in it; `lost` counts the records
    of all losses, `losses` are the latest, the oldest first.
    """

    def __init__(self) -> None:
        self._losses: deque[Loss] = deque(maxlen=LOSSES_KEPT)
        self.stored: dict[TopicPartition, int] = {}
        self.ghosts = Ghosts()
        self.lost = 0

    def add(self, loss: Loss) -> None:
        self._losses.append(loss)
        self.lost += loss.records

    @property
    def losses(self) -> tuple[Loss, ...]:
        return tuple(self._losses)
