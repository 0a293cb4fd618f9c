"""Messages without an outcome yet, who waits for them, and where they wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

from convex_messaging_fastapi.errors import PublishError
from convex_messaging_fastapi.publishing.limits import KEPT_BYTES
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords


class Single:
    """One message from the call that published it to its outcome, for which its caller waits by `done`.

    `line` is where it waits, `None` while the transport has it. `doubtful` says that an earlier attempt
    may have written it. `size` is the bytes that it counts among those that wait.
    """

    __slots__ = ("deadline", "done", "doubtful", "line", "outcome", "partition", "record", "size")

    messages: int = 1

    def __init__(
        self,
        record: OutgoingRecord,
        deadline: float,
        partition: int | None,
        done: asyncio.Future[None],
        size: int,
    ) -> None:
        self.record: OutgoingRecord = record
        self.deadline: float = deadline
        self.partition: int | None = partition
        self.done: asyncio.Future[None] = done
        self.size: int = size
        self.line: Line | None = None
        self.doubtful: bool = False
        self.outcome: Receipt | PublishError | None = None

    def tell(self) -> None:
        """Wake its caller: it has its outcome."""
        if not self.done.done():
            self.done.set_result(None)


class Several:
    """Messages of one list that wait at the same place, and have one outcome: receipts, or one error.

    `indices` say which of the list they are, ascending; `messages` how many. The rest is as in `Single`.
    With an object for each message the collector would have a long list to walk through once more.
    """

    __slots__ = ("call", "deadline", "doubtful", "indices", "line", "messages", "outcome")

    def __init__(self, call: Call, indices: Sequence[int], deadline: float) -> None:
        self.call: Call = call
        self.indices: Sequence[int] = indices
        self.messages: int = len(indices)
        self.deadline: float = deadline
        self.line: Line | None = None
        self.doubtful: bool = False
        self.outcome: Sequence[Receipt] | PublishError | None = None
        call.waiting.add(self)

    @property
    def size(self) -> int:
        return self.call.size_of(self.indices)

    def records(self) -> Iterator[OutgoingRecord]:
        return self.call.records.those(self.indices)

    def divide(self, *shares: Sequence[int]) -> list[Several]:
        """What takes its place: parts that have these indices, each index of its own in one of them."""
        self.call.waiting.remove(self)
        parts = [Several(self.call, indices, self.deadline) for indices in shares]
        for part in parts:
            part.line, part.doubtful = self.line, self.doubtful
        return parts

    def tell(self) -> None:
        """Note the outcome of each, and wake the caller if the whole list has one."""
        self.call.note(self)


Pending = Single | Several


class Call:
    """One `publish_many`: its caller waits until every message has an outcome.

    `waiting` are those without one. `outcomes` has each at its index, and `is_written` says that all of
    them so far are receipts. `is_keyless` says that no message has a key. With `halts` nothing of a partition
    is sent after one that was refused there; only one that is too large lets the others go on.
    """

    __slots__ = ("_left", "done", "halts", "is_keyless", "is_written", "outcomes", "records", "waiting")

    def __init__(self, records: OutgoingRecords, *, halts: bool = False) -> None:
        self.records: OutgoingRecords = records
        self.halts: bool = halts
        self.is_keyless: bool = records.keys.count(None) == len(records)
        self.waiting: set[Several] = set()
        self.outcomes: list[Receipt | PublishError | None] = [None] * len(records)
        self.is_written: bool = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = len(records)

    def size_of(self, indices: Sequence[int]) -> int:
        """The bytes that these count among those that wait."""
        return sum(map(self.records.sizes.__getitem__, indices)) + KEPT_BYTES * len(indices)

    def note(self, several: Several) -> None:
        """Take the outcome of some, which must have one."""
        self.waiting.remove(several)
        outcomes, outcome = self.outcomes, several.outcome
        if isinstance(outcome, Sequence):
            for index, receipt in zip(several.indices, outcome, strict=True):
                outcomes[index] = receipt
        else:
            self.is_written = False
            for index in several.indices:
                outcomes[index] = outcome
        self._left -= several.messages
        if not self._left and not self.done.done():
            self.done.set_result(None)


class Batch(Sequence[OutgoingRecord]):
    """Messages taken together, as the records of them: each is put together when it is looked at.

    A transport that packs them one after another holds one at a time, and makes none that do not fit:
    thousands of tuples that live for one packing would each bring the collector's next full round nearer.
    """

    __slots__ = ("_messages", "pending")

    def __init__(self, pending: Sequence[Pending], messages: int) -> None:
        self.pending: Sequence[Pending] = pending
        self._messages = messages

    def __len__(self) -> int:
        return self._messages

    def __iter__(self) -> Iterator[OutgoingRecord]:
        for each in self.pending:
            if isinstance(each, Single):
                yield each.record
            else:
                yield from each.records()

    @overload
    def __getitem__(self, index: int) -> OutgoingRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[OutgoingRecord]: ...
    def __getitem__(self, index: int | slice) -> OutgoingRecord | Sequence[OutgoingRecord]:
        if isinstance(index, slice):
            return list(islice(self, *index.indices(self._messages)))
        at = range(self._messages)[index]
        return next(islice(self, at, None))

    def split(self, messages: int) -> tuple[Batch, Batch]:
        """Its first `messages`, and the others."""
        if messages >= self._messages:
            return self, Batch((), 0)
        first: list[Pending] = []
        others = deque(self.pending)
        left = messages
        while left > 0:
            each = others.popleft()
            if each.messages > left and isinstance(each, Several) and each.outcome is None:
                each, rest = each.divide(each.indices[:left], each.indices[left:])
                others.appendleft(rest)
            left -= each.messages
            first.append(each)
        return Batch(first, messages), Batch(others, self._messages - messages)


class Line:
    """Waiting messages in order. Removing one that is settled while it waits is cheap."""

    __slots__ = ("_gone", "_messages", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Pending] = deque()
        self._messages = 0
        self._gone = 0  # how many of those in `_waiting` are settled

    def __len__(self) -> int:
        return self._messages

    def append(self, pending: Pending) -> None:
        pending.line = self
        self._waiting.append(pending)
        self._messages += pending.messages

    def take(self, limit: int) -> Batch:
        """Remove up to `limit` messages from the front."""
        taken: list[Pending] = []
        waiting, left = self._waiting, limit
        while waiting and left > 0:
            each = waiting.popleft()
            if each.outcome is not None:
                self._gone -= 1
                continue
            if each.messages > left and isinstance(each, Several):
                each, rest = each.divide(each.indices[:left], each.indices[left:])
                waiting.appendleft(rest)
            each.line = None
            left -= each.messages
            taken.append(each)
        self._messages -= limit - left
        return Batch(taken, limit - left)

    def put_back(self, batch: Batch) -> None:
        """Put messages back at the front, in the same order, without those settled meanwhile."""
        for each in reversed(batch.pending):
            if each.outcome is None:
                each.line = self
                self._waiting.appendleft(each)
                self._messages += each.messages

    def step_out(self, messages: int) -> None:
        """So many of the waiting messages, which stand here together, were settled."""
        self._messages -= messages
        self._gone += 1
        # Rebuilt only when half is gone, so that removing ten thousand takes linear time.
        if self._gone * 2 > len(self._waiting):
            self._waiting = deque(self.waiting())
            self._gone = 0

    def waiting(self) -> list[Pending]:
        return [each for each in self._waiting if each.outcome is None]
