"""Which ending a subscriber's `dead_letter=` asks for."""

from __future__ import annotations

from collections.abc import Callable

from convex_messaging_fastapi.consuming.assignment import Job, Stray
from convex_messaging_fastapi.consuming.endings.bury import BuryEnding, DeadLetters
from convex_messaging_fastapi.consuming.endings.discard import DiscardEnding
from convex_messaging_fastapi.consuming.endings.ending import Ending
from convex_messaging_fastapi.consuming.endings.hold import HoldEnding
from convex_messaging_fastapi.consuming.outcome import Outcome, Tally
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.policies import DeadLetterPolicy


class BuryOnce:
    """Buries each message, but holds one that is a dead letter itself: it has been buried once.

    That shows by where it was read: a copy may say anything of where its original stood.
    """

    def __init__(self, bury: Ending, hold: Ending, dead_letter_topic: str) -> None:
        self._bury = bury
        self._hold = hold
        self._dead_letter_topic = dead_letter_topic

    async def end(self, job: Job) -> Outcome:
        is_letter = job.owned.topic_partition.topic == self._dead_letter_topic
        return await (self._hold if is_letter else self._bury).end(job)


class BuryStrays:
    """Ends each message as its subscriber wants, but buries what was never for this subscriber."""

    def __init__(self, bury: Ending, usual: Ending) -> None:
        self._bury = bury
        self._usual = usual

    async def end(self, job: Job) -> Outcome:
        return await (self._bury if isinstance(job, Stray) else self._usual).end(job)


def ending_for(
    policy: DeadLetterPolicy,
    dead_letters: DeadLetters,
    dead_letter_topic: str,
    tally: Tally,
    random: Callable[[], float],
    observers: Observers = ONLY_THE_LOG,
) -> Ending:
    """`random` answers 0 to 1, and spreads the tries of a dead letter that cannot be written."""
    bury = BuryEnding(dead_letters, dead_letter_topic, tally, random, observers)
    match policy:
        case "bury":
            usual: Ending = BuryOnce(bury, HoldEnding(), dead_letter_topic)
        case "hold":
            usual = HoldEnding()
        case "discard":
            usual = DiscardEnding(tally)
    return BuryStrays(bury, usual)
