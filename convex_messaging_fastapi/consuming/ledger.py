"""Which records of one partition were handed out, which are finished, and so what may be committed.

A pure state machine. It knows only offsets that it was given: compaction and transactions leave
gaps in a log, so an offset that did not come means nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import ge

from convex_messaging_fastapi.consuming.offset_metadata import FinishedRanges, Range


class Ledger:
    """One partition, held from one assignment to its end; the next assignment gets a new ledger.

    `committed` and `position` are next offsets. Nothing below `committable` is unfinished. `known`
    is what an earlier owner had finished above `start`.
    """

    __slots__ = (
        "_finished",
        "_known",
        "_max_span",
        "_open",
        "_owed",
        "_owners",
        "bytes_unfinished",
        "committed",
        "finished_since_commit",
        "knows_more",
        "passed_over",
        "position",
    )

    def __init__(self, start: int, max_span: int, known: FinishedRanges | None = None) -> None:
        self._max_span = max_span
        self._known = known or FinishedRanges()
        self.knows_more: bool = bool(self._known)  # whether asking `pass_over` may be worth it
        # Whether a commit is owed: the first of an assignment, or one that was begun and not stored.
        self._owed = True
        self._open: deque[int] = deque()  # handed out, in order; its finished head is cut off lazily
        self._finished: set[int] = set()  # of those still in `_open`
        self._owners: dict[int, int] = {}  # only offsets that more than one subscription was handed
        self.committed: int = start
        self.position: int = start
        self.passed_over: int = 0  # records that `known` says were finished
        self.bytes_unfinished: int = 0
        self.finished_since_commit: int = 0

    def enter(self, offset: int, size: int, owners: int = 1) -> None:
        """Hand out one record of `size` bytes to one subscription or more; offsets only ever rise."""
        self.enter_all([offset], size, owners)

    def enter_all(self, offsets: Sequence[int], size: int, owners: int = 1) -> None:
        """As `enter`, of records that have `size` bytes together."""
        if any(map(ge, chain((self.position - 1,), offsets), offsets)):
            raise ValueError(
                f"one of offsets {offsets[0]} to {offsets[-1]} was handed out already: "
                f"the position is {self.position}"
            )
        if offsets:
            self.position = offsets[-1] + 1
        self._open.extend(offsets)
        self.bytes_unfinished += size
        if owners > 1:
            self._owners.update(dict.fromkeys(offsets, owners))

    def pass_over(self, offset: int, timestamp_ms: int) -> bool:
        """Whether an earlier owner had finished this record, so that it is not handed out."""
        if not self._known.has_finished(offset, timestamp_ms):
            self.knows_more = bool(self._known)
            return False
        self.position = offset + 1
        self.passed_over += 1
        self._open.append(offset)
        self._finished.add(offset)
        return True

    def finished_above(self) -> Iterator[Range]:
        """Everything finished that `committable` does not cover, in runs of handed-out offsets."""
        self._cut_finished_head()
        if not self._finished:
            yield from self._known.remaining(self.position)
            return
        start = end = -1
        for offset in self._open:
            if offset in self._finished:
                start = offset if start < 0 else start
                end = offset + 1
            elif start >= 0:
                yield Range(start, end)
                start = -1
        if start >= 0:
            yield Range(start, end)
        yield from self._known.remaining(self.position)

    def finished_by_ms(self, now_ms: int) -> int:
        """A time, Unix milliseconds, by which everything of `finished_above` was finished.

        For what an earlier owner had finished, that is the time of its commit.
        """
        return min(now_ms, self._known.at_ms) if any(self._known.remaining(self.position)) else now_ms

    def advance(self, position: int) -> None:
        """The log holds nothing more below `position`: what was not handed out by now never comes."""
        self.position = max(self.position, position)

    def finish(self, offset: int, size: int) -> bool:
        """One subscription has finished `offset`; whether it was the last that had to."""
        if self._owners and not self._last_owner(offset):
            return False
        self._finished.add(offset)
        self.bytes_unfinished -= size
        self.finished_since_commit += 1
        return True

    def finish_all(self, offsets: Sequence[int], sizes: Sequence[int]) -> int:
        """As `finish`, of several; for how many of them it was the last that had to."""
        if self._owners:
            return sum(map(self.finish, offsets, sizes))
        self._finished.update(offsets)
        self.bytes_unfinished -= sum(sizes)
        self.finished_since_commit += len(offsets)
        return len(offsets)

    def _last_owner(self, offset: int) -> bool:
        owners = self._owners.pop(offset, 1) - 1
        if owners:
            self._owners[offset] = owners
        return not owners

    @property
    def committable(self) -> int:
        """The lowest unfinished offset, or the position when nothing is unfinished."""
        self._cut_finished_head()
        return self._open[0] if self._open else self.position

    @property
    def has_news(self) -> bool:
        """Whether a commit would tell the cluster anything."""
        return self._owed or self.finished_since_commit > 0 or self.committable > self.committed

    def begin_commit(self) -> None:
        """A commit of everything finished so far begins; it is owed until it is known to be stored."""
        self.finished_since_commit, self._owed = 0, True

    def mark_committed(self, offset: int) -> None:
        """The cluster has stored `offset`. A late answer to an older commit changes nothing."""
        self.committed = max(self.committed, offset)
        self._owed = False

    @property
    def unfinished(self) -> int:
        return len(self._open) - len(self._finished)

    @property
    def oldest(self) -> int | None:
        """The lowest unfinished offset, if there is one. Changes nothing, for any thread may ask."""
        if len(self._finished) == len(self._open):
            return None
        return next((offset for offset in self._open if offset not in self._finished), None)

    @property
    def room(self) -> int:
        """How many more offsets may be handed out before the span bound of promise 2 is reached."""
        return max(0, self.committed + self._max_span - self.position)

    def _cut_finished_head(self) -> None:
        if len(self._finished) == len(self._open):  # as nearly always, and much faster than one by one
            self._open.clear()
            self._finished.clear()
            return
        while self._open and self._open[0] in self._finished:
            self._finished.remove(self._open.popleft())
