"""An observer that notes all that is told of messages and partitions, for tests to compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convex_messaging_fastapi import (
    AttemptEnded,
    AttemptOutcome,
    BreakerClosed,
    BreakerOpened,
    Buried,
    Committed,
    Observer,
    PublishEnded,
    PublishVerb,
    Rebalanced,
    Record,
    Retried,
)


class Hears(Observer):
    """Notes everything, in order."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, str, list[int], int]] = []
        self.ends: list[tuple[str, str | None]] = []
        self.publishes: list[tuple[str, str]] = []
        self.published: list[tuple[int, str | None]] = []
        self.events: list[Any] = []

    def handling(
        self, group: str, handler: str, records: Sequence[Record], attempt: int
    ) -> AttemptEnded | None:
        self.attempts.append((group, handler, [record.offset for record in records], attempt))
        return self._ended

    def _ended(self, outcome: AttemptOutcome, error: BaseException | None) -> None:
        self.ends.append((outcome, None if error is None else type(error).__name__))

    def publishing(self, topic: str, verb: PublishVerb) -> PublishEnded | None:
        self.publishes.append((topic, verb))
        return lambda receipts, error: self.published.append(
            (len(receipts), None if error is None else type(error).__name__)
        )

    def retried(self, event: Retried) -> None:
        self.events.append(event)

    def buried(self, event: Buried) -> None:
        self.events.append(event)

    def committed(self, event: Committed) -> None:
        self.events.append(event)

    def rebalanced(self, event: Rebalanced) -> None:
        self.events.append(event)

    def breaker_opened(self, event: BreakerOpened) -> None:
        self.events.append(event)

    def breaker_closed(self, event: BreakerClosed) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
