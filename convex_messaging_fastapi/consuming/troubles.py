"""Partitions whose commits are not stored: when each is tried again, and which go on failing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome

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
        told: dict[str, list[TopicPartition]] = {}
        ended: dict[TopicPartition, _Trouble] = {}
        for where, outcome in outcomes.items():
            if outcome is CommitOutcome.COMMITTED:
                if (trouble := self._troubles.pop(where, None)) is not None and trouble.told:
                    ended[where] = trouble
            elif outcome is not CommitOutcome.STALE:
                reason = reasons.get(where, outcome.value)
                if self._go_on(where, outcome, reason, now):
                    told.setdefault(reason, []).append(where)
            elif where in self._troubles:  # that it is over is about to be told
                self._troubles[where].retry_at = now + self._retry_seconds
        self._tell(told, ended, now)

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

    def _tell(
        self,
        begun: Mapping[str, Collection[TopicPartition]],
        ended: Mapping[TopicPartition, _Trouble],
        now: float,
    ) -> None:
        """One line for all that a commit shows alike: a coordinator that fails fails all partitions."""
        for reason, partitions in begun.items():
            reports.commits_fail(self._group, partitions, reason)
        if ended:
            since = min(trouble.since for trouble in ended.values())
            times = max(trouble.times for trouble in ended.values())
            reports.commits_work(self._group, ended.keys(), times, now - since)

    def _go_on(self, where: TopicPartition, outcome: CommitOutcome, reason: str, now: float) -> bool:
        """Whether this is to be told now, once for as long as it lasts."""
        trouble = self._troubles.setdefault(where, _Trouble(since=now, retry_at=now))
        refused = outcome is CommitOutcome.REFUSED
        trouble.times, trouble.reason = trouble.times + 1, reason
        trouble.retry_at = now + (self._refused_seconds if refused else self._retry_seconds)
        is_news = not trouble.told and (refused or now - trouble.since >= TELL_AFTER_SECONDS)
        trouble.told = trouble.told or is_news
        return is_news
