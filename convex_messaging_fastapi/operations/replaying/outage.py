"""When a replay stops by itself: what it brings fails again, or nobody handles it. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from convex_messaging_fastapi.records import TopicPartition

ENOUGH_SETTLED = 20
STANDSTILL_SECONDS = 60.0


@dataclass(slots=True)
class Outlook:
    """The copies of one job for one group: which are out, how many were settled, and how many failed again.

    A copy is settled once its group has committed past it. Times are the clock's seconds.
    """

    settled: int = 0
    _out: dict[TopicPartition, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    _failed: set[str] = field(default_factory=set)
    _moved_at: float = 0.0
    _seen_at: float = 0.0

    @property
    def out(self) -> int:
        return sum(map(len, self._out.values()))

    @property
    def failed(self) -> int:
        return len(self._failed)

    def went(self, copies: Iterable[tuple[TopicPartition, int]], now: float) -> None:
        """These copies are there for their group; of one partition in the order of their offsets."""
        if not self.out:
            self._moved_at = now
        for where, offset in copies:
            self._out[where].append(offset)

    def committed(self, offsets: Mapping[TopicPartition, int], now: float) -> None:
        """The group has committed up to these offsets."""
        before = self.settled
        for where, next_offset in offsets.items():
            out = self._out.get(where, ())
            while out and out[0] < next_offset:
                out.popleft()
                self.settled += 1
        self._seen_at = now
        if self.settled > before:
            self._moved_at = now

    def failed_again(self, letters: Iterable[str]) -> None:
        """There are newer letters about the copies of these; each counts once, however often it is told."""
        self._failed.update(letters)

    def reason_to_stop(self) -> str | None:
        """A sentence, once there is one."""
        # A letter is written before the copy's offset is committed: what failed is settled.
        settled = max(self.settled, self.failed)
        if settled >= ENOUGH_SETTLED and 2 * self.failed > settled:
            return f"they fail again: {self.failed} of {settled} that were handled"
        # Who was frozen for a minute, or heard nothing, has not seen that nobody handles them.
        if self.out and self._seen_at - self._moved_at >= STANDSTILL_SECONDS:
            return f"nobody handles them: none of {self.out} was settled in {STANDSTILL_SECONDS:.0f} s"
        return None
