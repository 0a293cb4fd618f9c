"""What is counted of each handler and each topic, with a bound for what others may name."""

from __future__ import annotations

from typing import Final, Literal, get_args

from convex_messaging_fastapi.events import AttemptOutcome
from convex_messaging_fastapi.observability.durations import Durations
from convex_messaging_fastapi.observability.metrics import Samples, label

OTHER: Final = "other"
"""Stands for every name after the most that are told apart."""

MAX_TOPICS = 100
MAX_ERROR_TYPES = 20

PublishOutcome = Literal["written", "failed", "unknown"]


class HandlerCounts:
    """What became of the attempts of one handler."""

    __slots__ = ("durations", "letters", "outcomes", "retries")

    def __init__(self) -> None:
        self.outcomes: dict[AttemptOutcome, int] = dict.fromkeys(get_args(AttemptOutcome), 0)
        self.durations: Durations = Durations()
        self.letters: dict[str, int] = {}
        self.retries: int = 0

    def note_letter(self, error_type: str) -> None:
        if error_type not in self.letters and len(self.letters) >= MAX_ERROR_TYPES:
            error_type = OTHER
        self.letters[error_type] = self.letters.get(error_type, 0) + 1

    def add_to(self, samples: Samples, group: str, handler: str) -> None:
        for outcome, count in self.outcomes.items():
            samples.add("attempts", (group, handler, outcome), count)
        samples.add("retries", (group, handler), self.retries)
        for error_type, count in list(self.letters.items()):
            samples.add("dead_letters", (group, handler, error_type), count)
        samples.time("handler_duration_seconds", (group, handler), self.durations)


class Topics:
    """How many messages were published to each topic, and what became of them."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[PublishOutcome, int]] = {}

    def note(self, topic: str, outcome: PublishOutcome, count: int) -> None:
        counts = self._counts.get(topic)
        if counts is None:
            counts = self._begin(topic)
        counts[outcome] += count

    def add_to(self, samples: Samples) -> None:
        for topic, counts in list(self._counts.items()):
            for outcome, count in counts.items():
                samples.add("published", (label(topic), outcome), count)

    def _begin(self, topic: str) -> dict[PublishOutcome, int]:
        if len(self._counts) >= MAX_TOPICS:
            topic = OTHER
        return self._counts.setdefault(topic, dict.fromkeys(get_args(PublishOutcome), 0))
