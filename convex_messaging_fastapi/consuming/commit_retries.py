"""Partitions whose commits are not stored: when each is tried again, and which go on failing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome

TELL_AFTER_SECONDS = 10.0
"""A moving coordinator fails commits for seconds: only what lasts longer is logged; a refusal is at once."""


class FailingCommits(NamedTuple):
    """The failing commits of one partition: since when on the clock, how often, and why."""

    since: float
    times: int
    reason: str


@dataclass(slots=True)
class _FailedCommit:
    since: float
    retry_at: float
    times: int = 0
    reason: str = ""
    told: bool = False


class CommitRetries:
    """Tries a partition again `retry_seconds` after a failed commit, `refused_seconds` after a refusal."""

    def __init__(self, group: str, retry_seconds: float, refused_seconds: float) -> None:
        self._group = group
        self._retry_seconds, self._refused_seconds = retry_seconds, refused_seconds
        self._failed: dict[TopicPartition, _FailedCommit] = {}

    def keep(self, partitions: Collection[TopicPartition]) -> None:
        """Another assignment has begun: forget partitions it does not have, and try the rest at once."""
        self._failed = {where: self._failed[where] for where in partitions if where in self._failed}
        for failure in self._failed.values():
            failure.retry_at = float("-inf")

    def note(
        self,
        outcomes: Mapping[TopicPartition, CommitOutcome],
        reasons: Mapping[TopicPartition, str],
        now: float,
    ) -> None:
        """Remember what became of a commit. `reasons` are the cluster's words, where it has said any."""
        told: dict[str, list[TopicPartition]] = {}
        ended: dict[TopicPartition, _FailedCommit] = {}
        for where, outcome in outcomes.items():
            if outcome is CommitOutcome.COMMITTED:
                if (failure := self._failed.pop(where, None)) is not None and failure.told:
                    ended[where] = failure
            elif outcome is not CommitOutcome.STALE:
                reason = reasons.get(where, outcome.value)
                if self._go_on(where, outcome, reason, now):
                    told.setdefault(reason, []).append(where)
            elif where in self._failed:  # the transport is about to say that the assignment is over
                self._failed[where].retry_at = now + self._retry_seconds
        self._tell(told, ended, now)

    def resting(self, now: float) -> frozenset[TopicPartition]:
        """Partitions whose next try is not due yet."""
        return frozenset(where for where, failure in self._failed.items() if failure.retry_at > now)

    def next_retry(self, held: Collection[TopicPartition]) -> float:
        """When the next try of one of `held` is due; infinity when none is."""
        due = (failure.retry_at for where, failure in self._failed.items() if where in held)
        return min(due, default=float("inf"))

    @property
    def failing(self) -> Mapping[TopicPartition, FailingCommits]:
        """Partitions whose failure was logged."""
        return {
            where: FailingCommits(failure.since, failure.times, failure.reason)
            for where, failure in self._failed.items()
            if failure.told
        }

    def _tell(
        self,
        begun: Mapping[str, Collection[TopicPartition]],
        ended: Mapping[TopicPartition, _FailedCommit],
        now: float,
    ) -> None:
        """Log one line for all partitions that fail alike: a failing coordinator fails all of them."""
        for reason, partitions in begun.items():
            reports.commits_fail(self._group, partitions, reason)
        if ended:
            since = min(failure.since for failure in ended.values())
            times = max(failure.times for failure in ended.values())
            reports.commits_work(self._group, ended.keys(), times, now - since)

    def _go_on(self, where: TopicPartition, outcome: CommitOutcome, reason: str, now: float) -> bool:
        """Count a failed commit; whether to log it now, which is once for as long as it lasts."""
        failure = self._failed.setdefault(where, _FailedCommit(since=now, retry_at=now))
        refused = outcome is CommitOutcome.REFUSED
        failure.times, failure.reason = failure.times + 1, reason
        failure.retry_at = now + (self._refused_seconds if refused else self._retry_seconds)
        is_news = not failure.told and (refused or now - failure.since >= TELL_AFTER_SECONDS)
        failure.told = failure.told or is_news
        return is_news
