"""What became of a message in one turn, and the counts of what became of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.holds import Hold


class JobHold(NamedTuple):
    """The one job for which its partition must wait, and why."""

    job: Job
    hold: Hold


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the jobs of one turn.

    `finished` may be committed. `again` goes back to the head of its lane after `delay` seconds, where
    `None` means that it stays held.
    """

    finished: Sequence[Job] = ()
    again: Sequence[Job] = ()
    delay: float | None = 0.0
    hold: JobHold | None = None


class Tally:
    """What one subscription has done since it began."""

    __slots__ = ("already_handled", "buried", "discarded", "failed_attempts", "filtered", "handled")

    def __init__(self) -> None:
        self.handled: int = 0
        self.failed_attempts: int = 0
        self.buried: int = 0
        self.discarded: int = 0
        self.already_handled: int = 0
        self.filtered: int = 0
