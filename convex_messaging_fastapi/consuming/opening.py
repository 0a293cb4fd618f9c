"""Opens the ledger of an assigned partition: how much of its last commit is believed, and logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.consuming.offset_metadata import decode
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position

USUAL_SPAN = 10_000
"""How far above its committed offset an earlier owner may have been, whatever our own setting is now."""

CLOCKS_APART_SECONDS = 60.0
"""How far ahead of ours the clock of an earlier owner may be."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A new ledger; how many offsets it skips, and how many more the commit named and was not believed."""

    ledger: Ledger
    passed_over: int
    not_believed: int


class Opening:
    """Believes a commit's ranges of finished offsets as far as an owner can have finished them.

    These are offsets below the present end of the log, within the span that one owner may hand out,
    finished no later than now. A client that may commit for the group can still forge such ranges, so
    they are logged.
    """

    def __init__(self, clock: Clock, max_uncommitted: int) -> None:
        self._clock = clock
        self._max_uncommitted = max_uncommitted

    def open(self, position: Position) -> Opened:
        said = decode(position.metadata, position.offset)
        end = position.offset + max(self._max_uncommitted, USUAL_SPAN)
        if position.end is not None:
            end = min(end, position.end)
        known = said.below(end, int((self._clock.unix() + CLOCKS_APART_SECONDS) * 1000))
        passed_over, not_believed = known.offsets, said.offsets - known.offsets
        return Opened(Ledger(position.offset, self._max_uncommitted, known), passed_over, not_believed)


def report_passed_over(group: str, opened: Mapping[TopicPartition, Opened]) -> None:
    """One line for an assignment, if there is anything to say."""
    passed_over = {where: each.passed_over for where, each in opened.items() if each.passed_over}
    not_believed = sum(each.not_believed for each in opened.values())
    if not passed_over and not not_believed:
        return
    reports.passed_over(group, passed_over, not_believed)
