"""What of one partition is handed out, what is finished, and so what may be committed.

A pure state machine. It knows only offsets that it was given: compaction and transactions leave
gaps in a log, so nothing is ever concluded from an offset that did not come.
"""

from __future__ import annotations

from collections import deque


class Ledger:
    """One partition, held from one assignment to its end; the next assignment gets a new ledger.

    `committed` and `position` are next offsets. Nothing below `committable` is unfinished.
    """

    __slots__ = (
        "_finished",
        "_max_span",
        "_open",
        "_owners",
        "bytes_unfinished",
        "committed",
        "finished_since_commit",
        "position",
    )

    def __init__(self, start: int, max_span: int) -> None:
        self._max_span = max_span
        self._open: deque[int] = deque()  # handed out, in order; its finished head is cut off lazily
        self._finished: set[int] = set()  # of those still in `_open`
        self._owners: dict[int, int] = {}  # only offsets that more than one subscription was handed
        self.committed = start
        self.position = start
        self.bytes_unfinished = 0
        self.finished_since_commit = 0

    def take(self, offset: int, size: int, owners: int = 1) -> None:
        """Hand out one record of `size` bytes to so many subscriptions; offsets only ever rise."""
        if offset < self.position:
            raise ValueError(f"offset {offset} was handed out already: the position is {self.position}")
        self.position = offset + 1
        if owners == 0:
            return
        self._open.append(offset)
        self.bytes_unfinished += size
        if owners > 1:
            self._owners[offset] = owners

    def advance(self, position: int) -> None:
        """The log holds nothing more below `position`: what was not handed out by now never comes."""
        self.position = max(self.position, position)

    def finish(self, offset: int, size: int) -> bool:
        """One subscription has finished `offset`; whether that was the last one it waited for."""
        owners = self._owners.get(offset, 1)
        if owners > 1:
            self._owners[offset] = owners - 1
            return False
        self._owners.pop(offset, None)
        self._finished.add(offset)
        self.bytes_unfinished -= size
        self.finished_since_commit += 1
        return True

    @property
    def committable(self) -> int:
        """The lowest unfinished offset, or the position when nothing is unfinished."""
        self._cut_finished_head()
        return self._open[0] if self._open else self.position

    def mark_committed(self, offset: int) -> None:
        """The cluster has stored `offset`. A late answer to an older commit changes nothing."""
        self.committed = max(self.committed, offset)

    @property
    def unfinished(self) -> int:
        return len(self._open) - len(self._finished)

    @property
    def oldest(self) -> int | None:
        """The lowest unfinished offset, if there is one."""
        self._cut_finished_head()
        return self._open[0] if self._open else None

    @property
    def room(self) -> int:
        """How many more offsets may be handed out before the span bound of promise 2 is reached."""
        return max(0, self.committed + self._max_span - self.position)

    def _cut_finished_head(self) -> None:
        while self._open and self._open[0] in self._finished:
            self._finished.remove(self._open.popleft())
