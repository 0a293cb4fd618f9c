"""Counts how often a batch could not be read, and tells when it is given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Unreadable


class Tries:
    """A batch is given up after `least` failures over at least `seconds`, with no good read in between."""

    def __init__(self, least: int, seconds: float) -> None:
        self._least, self._seconds = least, seconds
        self._failed: dict[TopicPartition, _Failed] = {}
        self._passed: dict[TopicPartition, Unreadable] = {}

    def failed(self, where: TopicPartition, batch: Unreadable, now: float) -> None:
        """Count a failure; the count begins anew with another batch."""
        before = self._failed.get(where)
        is_same = before is not None and before.batch.span == batch.span
        times, since = (before.times + 1, before.since) if before is not None and is_same else (1, now)
        self._failed[where] = _Failed(batch._replace(tries=times), times, since, now)

    def succeeded(self, where: TopicPartition) -> None:
        """The partition was read: forget what was counted there."""
        self._failed.pop(where, None)
        self._passed.pop(where, None)

    def forget(self) -> None:
        self._failed.clear()
        self._passed.clear()

    def given_up(self) -> Mapping[TopicPartition, Unreadable]:
        """The batches that are given up now, without those that reading is to pass over already."""
        if not self._failed:
            return {}
        return {
            where: failed.batch
            for where, failed in self._failed.items()
            if where not in self._passed and self._is_over(failed)
        }

    def pass_over(self, where: TopicPartition, batch: Unreadable) -> None:
        """Reading is to go on behind this batch, if it is still in the way."""
        failed = self._failed.get(where)
        if failed is not None and failed.batch.span == batch.span:
            self._passed[where] = batch

    def passed(self) -> Mapping[TopicPartition, Unreadable]:
        """The batches that reading is to pass over, until `succeeded`."""
        return dict(self._passed) if self._passed else {}

    def _is_over(self, failed: _Failed) -> bool:
        return failed.times >= self._least and failed.last - failed.since >= self._seconds


class _Failed(NamedTuple):
    """Failed `times` in a row, from `since` to `last` on the clock."""

    batch: Unreadable
    times: int
    since: float
    last: float
