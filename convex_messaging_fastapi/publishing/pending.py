"""Messages without an outcome yet, who waits for them, and one timer for all their deadlines."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from operator import attrgetter
from typing import overload

from convex_messaging_fastapi.clock import Clock, Timer
from convex_messaging_fastapi.errors import PublishError, PublishUnknown
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords

SWEEP_SECONDS = 0.05
"""Deadlines are checked at most this often, so one may be noticed this late."""

_EARLY_SECONDS = 0.001

_record_of: Callable[[Pending], OutgoingRecord] = attrgetter("record")


class Call:
    """One `publish_many`: its caller waits until every message has an outcome.

    `outcomes` has a message at its index until that has an outcome, and then the outcome, so that the
    message can be freed.
    """

    __slots__ = ("done", "left", "outcomes")

    def __init__(self, messages: int) -> None:
        self.left: int = messages
        self.outcomes: list[Pending | Receipt | PublishError | None] = [None] * messages
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Pending:
    """One message from the call that published it to its outcome: number `index` of `records`.

    It belongs to `call`, or has its own caller, who waits for `done`. `line` is where it waits, `None`
    while the transport has it. `doubtful` says that an earlier attempt may have written it. `size` is
    the bytes that it counts among those that wait.
    """

    __slots__ = (
        "_records",
        "call",
        "deadline",
        "done",
        "doubtful",
        "index",
        "key",
        "line",
        "outcome",
        "partition",
        "size",
    )

    def __init__(
        self,
        records: OutgoingRecords | tuple[OutgoingRecord],
        index: int,
        key: bytes | None,
        deadline: float,
        partition: int | None = None,
        call: Call | None = None,
        done: asyncio.Future[None] | None = None,
        size: int = 0,
    ) -> None:
        self._records = records
        self.index: int = index
        self.key: bytes | None = key
        self.deadline: float = deadline
        self.partition: int | None = partition
        self.call: Call | None = call
        self.done: asyncio.Future[None] | None = done
        self.size: int = size
        self.line: Line | None = None
        self.doubtful: bool = False
        self.outcome: Receipt | PublishError | None = None

    @property
    def record(self) -> OutgoingRecord:
        return self._records[self.index]

    @property
    def certainly_unwritten(self) -> bool:
        return self.line is not None and not self.doubtful


class Records(Sequence[OutgoingRecord]):
    """The records of messages, each put together when it is looked at.

    A transport that packs them one after another holds one at a time, and makes none that do not fit:
    thousands of tuples that live for one packing would each bring the collector's next full round nearer.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: Sequence[Pending]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[OutgoingRecord]:
        return map(_record_of, self._messages)

    @overload
    def __getitem__(self, index: int) -> OutgoingRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> OutgoingRecord | Records:
        if isinstance(index, slice):
            return Records(self._messages[index])
        return self._messages[index].record


class Line:
    """Waiting messages in order. Removing one that is settled while it waits is cheap."""

    __slots__ = ("_gone", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Pending] = deque()
        self._gone = 0

    def __len__(self) -> int:
        return len(self._waiting) - self._gone

    def append(self, message: Pending) -> None:
        message.line = self
        self._waiting.append(message)

    def extend(self, messages: Iterable[Pending]) -> None:
        for message in messages:
            self.append(message)

    def take(self, limit: int) -> list[Pending]:
        """Remove up to `limit` messages from the front, and return them."""
        taken: list[Pending] = []
        waiting = self._waiting
        while waiting and len(taken) < limit:
            message = waiting.popleft()
            if message.outcome is None:
                message.line = None
                taken.append(message)
            else:
                self._gone -= 1
        return taken

    def put_back(self, messages: list[Pending]) -> None:
        """Put messages back at the front, in the same order, without those settled meanwhile."""
        for message in reversed(messages):
            if message.outcome is None:
                message.line = self
                self._waiting.appendleft(message)

    def step_out(self) -> None:
        """One of the waiting messages was settled."""
        self._gone += 1
        # Rebuilt only when half is gone, so that removing ten thousand takes linear time.
        if self._gone * 2 > len(self._waiting):
            self._waiting = deque(message for message in self._waiting if message.outcome is None)
            self._gone = 0

    def waiting(self) -> list[Pending]:
        return [message for message in self._waiting if message.outcome is None]


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

    def settle(self, message: Pending, outcome: Receipt | PublishError) -> None:
        """Give `message` its outcome; the first one counts."""
        if message.outcome is not None:
            return
        message.outcome = outcome
        if message.line is not None:
            message.line.step_out()
        self.bytes -= message.size
        self._count(outcome)
        _tell(message)

    def acknowledge(self, batch: Sequence[Pending], receipts: Iterable[Receipt]) -> None:
        """As `settle`, for a whole batch, none of which is in a line."""
        settled = freed = 0
        for message, receipt in zip(batch, receipts, strict=False):
            if message.outcome is not None:
                continue
            message.outcome = receipt
            settled += 1
            freed += message.size
            done = message.done
            if done is None:
                _tell(message)
            elif not done.done():
                done.set_result(None)
        self.published += settled
        self.bytes -= freed
        self._let_go(settled)

    def emptied(self) -> asyncio.Future[object]:
        """A future that is done once nothing is outstanding."""
        empty = self._empty or asyncio.get_running_loop().create_future()
        self._empty = empty
        self._tell_if_empty()
        return empty

    def _count(self, outcome: Receipt | PublishError) -> None:
        if isinstance(outcome, Receipt):
            self.published += 1
        elif isinstance(outcome, PublishUnknown):
            self.unknown += 1
        else:
            self.failed += 1
        self._let_go(1)

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


def _tell(message: Pending) -> None:
    """Wake the caller of this message, unless it waits for others of its call."""
    call, done = message.call, message.done
    if call is not None:
        call.outcomes[message.index] = message.outcome
        call.left -= 1
        done = None if call.left else call.done
    if done is not None and not done.done():
        done.set_result(None)


def due(messages: Sequence[Pending], until: float) -> tuple[list[Pending], float]:
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
