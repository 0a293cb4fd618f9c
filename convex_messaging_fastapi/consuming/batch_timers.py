"""The timers of batches that are not full yet: one for each lane, until its batch is taken."""

from __future__ import annotations

from collections.abc import Callable

from convex_messaging_fastapi.clock import Clock, Timer
from convex_messaging_fastapi.consuming.lanes import DROPPED, Lane, Lanes


class BatchTimers:
    """A batch that does not fill up starts all the same, `max_wait_seconds` after its first member came."""

    def __init__(
        self, lanes: Lanes, clock: Clock, max_wait_seconds: float, closed: Callable[[], None]
    ) -> None:
        self._lanes = lanes
        self._clock = clock
        self._max_wait_seconds = max_wait_seconds
        self._closed = closed
        self.timers: dict[Lane, Timer] = {}

    def start(self, lane: Lane) -> None:
        self.cancel(lane)
        turn = lane.turn

        def close_batch() -> None:
            del self.timers[lane]
            self._lanes.close_batch(lane, turn)
            self._closed()

        self.timers[lane] = self._clock.call_later(self._max_wait_seconds, close_batch)

    def cancel(self, lane: Lane) -> None:
        """This lane's batch was taken."""
        timer = self.timers.pop(lane, None)
        if timer is not None:
            timer.cancel()

    def forget_dropped(self) -> None:
        for lane in [lane for lane in self.timers if lane.state is DROPPED]:
            self.cancel(lane)
