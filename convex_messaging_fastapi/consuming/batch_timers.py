"""How long a batch gathers: one timer for each lane that does, and none once it is handed over."""

from __future__ import annotations

from collections.abc import Callable

from convex_messaging_fastapi.clock import Clock, Timer
from convex_messaging_fastapi.consuming.lanes import DROPPED, Lane, Lanes


class BatchTimers:
    """A batch that does not fill up is handed over all the same, `max_wait_seconds` after it began."""

    def __init__(
        self, lanes: Lanes, clock: Clock, max_wait_seconds: float, handed_over: Callable[[], None]
    ) -> None:
        self._lanes = lanes
        self._clock = clock
        self._max_wait_seconds = max_wait_seconds
        self._handed_over = handed_over
        self.timers: dict[Lane, Timer] = {}

    def start(self, lane: Lane) -> None:
        self.cancel(lane)
        turn = lane.turn

        def close_batch() -> None:
            del self.timers[lane]
            self._lanes.close_batch(lane, turn)
            self._handed_over()

        self.timers[lane] = self._clock.call_later(self._max_wait_seconds, close_batch)

    def cancel(self, lane: Lane) -> None:
        """This lane's batch was taken: it gathers no more."""
        timer = self.timers.pop(lane, None)
        if timer is not None:
            timer.cancel()

    def forget_dropped(self) -> None:
        for lane in [lane for lane in self.timers if lane.state is DROPPED]:
            self.cancel(lane)
