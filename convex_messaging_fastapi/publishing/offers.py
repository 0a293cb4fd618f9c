"""How much the next send of a queue offers, and how long it waits after failures."""

from __future__ import annotations

from convex_messaging_fastapi.transport.base import Sent, Verdict

FIRST_BACK_OFF_SECONDS = 0.1
LONGEST_BACK_OFF_SECONDS = 2.0
MOST_DOUBLINGS = 10

FIRST_OFFER = 1_000
LARGEST_OFFER = 10_000
SMALLEST_OFFER = 16


class Offer:
    """Learns from the answers to the sends of one queue.

    `size` is the most messages of the next send, `reason` what the last answer said of a failure.
    """

    __slots__ = ("_failures", "reason", "size")

    def __init__(self) -> None:
        self.size: int = FIRST_OFFER
        self.reason: str = ""
        self._failures = 0

    def note_failure(self, sent: Sent) -> None:
        self.reason = sent.reason
        self._failures += 1
        # The cluster answers for a whole batch: smaller ones part the good messages from a bad one.
        if self._failures > 1:
            self.size = max(1, sent.taken // 2)

    def note_answer(self, offered: int, taken: int, verdict: Verdict) -> None:
        """Of `offered` messages `taken` were written, or refused for good."""
        self._failures = 0
        self.reason = ""
        if verdict is not Verdict.WRITTEN:
            return
        # What is offered counts as in flight until the answer, so little more than fits is offered.
        if taken < offered:
            self.size = max(2 * taken, SMALLEST_OFFER)
        elif offered == self.size:
            self.size = min(2 * self.size, LARGEST_OFFER)

    @property
    def wait_seconds(self) -> float:
        """Until the next send, after a failure."""
        doublings = min(self._failures - 1, MOST_DOUBLINGS)
        return min(FIRST_BACK_OFF_SECONDS * 2.0**doublings, LONGEST_BACK_OFF_SECONDS)
