"""Counts the messages without an outcome, and watches their deadlines with one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import inf

from convex_messaging_fastapi.clock import Clock, Timer
from convex_messaging_fastapi.errors import PublishError, PublishUnknown
from convex_messaging_fastapi.publishing.pending import Batch, Pending, Single
from convex_messaging_fastapi.receipts import Receipt

SWEEP_SECONDS = 0.05
"""Deadlines are checked at most this often, so one may be noticed this late."""

_EARLY_SECONDS = 0.001


class Outstanding:
    """Counts all messages without an outcome, and watches their deadlines with one timer.

    `sweep(until)` settles what is due by `until`, and returns the nearest deadline that is left, infinity
    if there is none. `bytes` is the sum of all their sizes.
    """

    def __init__(self, clock: Clock, sweep: Callable[[float], float]) -> None:
        self._clock = clock
        self._sweep = sweep
        self._timer: Timer | None = None
        self._wakes_at = inf
        self._swept_at = -inf
        self._empty: asyncio.Future[object] | None = None
        self.pending: int = 0
        self.bytes: int = 0
        self.published: int = 0
        self.failed: int = 0
        self.unknown: int = 0

    def add(self, messages: int, deadline: float) -> None:
        """Count `messages` more. The caller raises `bytes`, of a list before its first message is added."""
        self.pending += messages
        if deadline < self._wakes_at:
            self._wake_by(deadline)

    def settle(self, pending: Pending, error: PublishError) -> None:
        """Give messages their outcome; the first one counts."""
        if pending.outcome is not None:
            return
        pending.outcome = error
        if pending.line is not None:
            pending.line.step_out(pending.messages)
        self.bytes -= pending.size
        if isinstance(error, PublishUnknown):
            self.unknown += pending.messages
        else:
            self.failed += pending.messages
        self._let_go(pending.messages)
        pending.tell()

    def acknowledge(self, batch: Batch, receipts: Iterator[Receipt]) -> None:
        """As `settle`, for a whole batch, none of which is in a line; there is a receipt for each message."""
        settled = freed = 0
        for each in batch.pending:
            if isinstance(each, Single):
                receipt = next(receipts)
                if each.outcome is not None:
                    continue
                each.outcome = receipt
                if not each.done.done():  # `tell`, written out: a call for every message
                    each.done.set_result(None)
            else:
                their_receipts = list(islice(receipts, each.messages))
                if each.outcome is not None:
                    continue
                each.outcome = their_receipts
                each.tell()
            settled += each.messages
            freed += each.size
        self.published += settled
        self.bytes -= freed
        self._let_go(settled)

    def emptied(self) -> asyncio.Future[object]:
        """A future that is done once nothing is outstanding."""
        empty = self._empty or asyncio.get_running_loop().create_future()
        self._empty = empty
        self._tell_if_empty()
        return empty

    def _let_go(self, messages: int) -> None:
        self.pending -= messages
        if not self.pending:
            self._stop_timer()
            self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self._empty is not None and not self.pending:
            self._empty.set_result(None)
            self._empty = None

    def _wake_by(self, deadline: float) -> None:
        at = max(deadline, self._swept_at + SWEEP_SECONDS)
        if at >= self._wakes_at:
            return
        self._stop_timer()
        self._wakes_at = at
        self._timer = self._clock.call_later(at - self._clock.now(), self._wake)

    def _wake(self) -> None:
        self._stop_timer()
        self._swept_at = self._clock.now()
        nearest = self._sweep(self._swept_at + _EARLY_SECONDS)
        if nearest < inf:
            self._wake_by(nearest)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._wakes_at = inf


def due(messages: Iterable[Pending], until: float) -> tuple[list[Pending], float]:
    """Those without an outcome whose deadline is not after `until`, and the nearest later deadline."""
    overdue: list[Pending] = []
    nearest = inf
    for message in messages:
        if message.outcome is None:
            if message.deadline <= until:
                overdue.append(message)
            elif message.deadline < nearest:
                nearest = message.deadline
    return overdue, nearest
