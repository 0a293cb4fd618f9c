"""Partitions whose commits are not stored: when each is tried again, and which go on failing."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome

logger = logging.getLogger(__name__)

TELL_AFTER_SECONDS = 10.0
"""A coordinator that moves refuses for some seconds, and nobody need know; a refusal is told at once."""


class FailingCommits(NamedTuple):
    """One partition: its commits fail since a time on the clock, so many times, for that reason."""

    since: float
    times: int
    reason: str


@dataclass(slots=True)
class _Trouble:
    since: float
    retry_at: float
    times: int = 0
    reason: str = ""
    told: bool = False


class Troubles:
    """`retry_seconds` lie between a commit of a partition that failed and its next one.

    After one that was refused it is `refused_seconds`.
    """

    def __init__(self, group: str, retry_seconds: float, refused_seconds: float) -> None:
        self._group = group
        self._retry_seconds, self._refused_seconds = retry_seconds, refused_seconds
        self._troubles: dict[TopicPartition, _Trouble] = {}

    def keep(self, partitions: Collection[TopicPartition]) -> None:
        """Another assignment has begun: forget what is not held any more, and try the rest at once."""
        self._troubles = {where: self._troubles[where] for where in partitions if where in self._troubles}
        for trouble in self._troubles.values():
            trouble.retry_at = float("-inf")

    def note(
        self,
        outcomes: Mapping[TopicPartition, CommitOutcome],
        reasons: Mapping[TopicPartition, str],
        now: float,
    ) -> None:
        """Remember what became of a commit. `reasons` are the cluster's words, where it has said any."""
        for where, outcome in outcomes.items():
            if outcome is CommitOutcome.COMMITTED:
                self._end(where)
            elif outcome is not CommitOutcome.STALE:
                self._go_on(where, outcome, reasons.get(where, outcome.value), now)
            elif where in self._troubles:  # that it is over is about to be told
                self._troubles[where].retry_at = now + self._retry_seconds

    def resting(self, now: float) -> frozenset[TopicPartition]:
        """Whose next try is not due yet."""
        return frozenset(where for where, trouble in self._troubles.items() if trouble.retry_at > now)

    def next_retry(self, held: Collection[TopicPartition]) -> float:
        """When the next try of one of `held` is due; infinity when none is."""
        due = (trouble.retry_at for where, trouble in self._troubles.items() if where in held)
        return min(due, default=float("inf"))

    @property
    def failing(self) -> Mapping[TopicPartition, FailingCommits]:
        """Those that were told of."""
        return {
            where: FailingCommits(trouble.since, trouble.times, trouble.reason)
            for where, trouble in self._troubles.items()
            if trouble.told
        }

    def _go_on(self, where: TopicPartition, outcome: CommitOutcome, reason: str, now: float) -> None:
        trouble = self._troubles.setdefault(where, _Trouble(since=now, retry_at=now))
        refused = outcome is CommitOutcome.REFUSED
        trouble.times, trouble.reason = trouble.times + 1, reason
        trouble.retry_at = now + (self._refused_seconds if refused else self._retry_seconds)
        if not trouble.told and (refused or now - trouble.since >= TELL_AFTER_SECONDS):
            trouble.told = True
            logger.warning(
                "group %s: the offset of %s/%s cannot be committed: %s; what is not committed is handled "
                "again by its next owner",
                self._group,
                *where,
                reason,
            )

    def _end(self, where: TopicPartition) -> None:
        trouble = self._troubles.pop(where, None)
        if trouble is not None and trouble.told:
            logger.warning(
                "group %s: the offset of %s/%s is committed, after %d tries that failed",
                self._group,
                *where,
                trouble.times,
            )
