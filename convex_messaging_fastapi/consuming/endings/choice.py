"""Which ending a subscriber's `dead_letter=` asks for."""

from __future__ import annotations

from collections.abc import Callable

from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.endings.bury import BuryEnding, DeadLetters
from convex_messaging_fastapi.consuming.endings.discard import DiscardEnding
from convex_messaging_fastapi.consuming.endings.ending import Ending
from convex_messaging_fastapi.consuming.endings.hold import HoldEnding
from convex_messaging_fastapi.consuming.outcome import Outcome, Tally
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.policies import DeadLetterPolicy


class BuryOnce:
    """Buries each message, but holds one that is a dead letter itself: it has been buried once."""

    def __init__(self, bury: Ending, hold: Ending, dead_letter_topic: str) -> None:
        self._bury = bury
        self._hold = hold
        self._dead_letter_topic = dead_letter_topic

    async def end(self, job: Job) -> Outcome:
        ending = self._hold if job.record.topic == self._dead_letter_topic else self._bury
        return await ending.end(job)


def ending_for(
    policy: DeadLetterPolicy,
    dead_letters: DeadLetters,
    dead_letter_topic: str,
    tally: Tally,
    random: Callable[[], float],
    observers: Observers = ONLY_THE_LOG,
) -> Ending:
    """`random` answers 0 to 1, and spreads the tries of a dead letter that cannot be written."""
    match policy:
        case "bury":
            bury = BuryEnding(dead_letters, tally, random, observers)
            return BuryOnce(bury, HoldEnding(), dead_letter_topic)
        case "hold":
            return HoldEnding()
        case "discard":
            return DiscardEnding(tally)
