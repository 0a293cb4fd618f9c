"""Wakes callers in groups, so that the cluster has work while the next group is being woken."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.clock import Clock, sleep

CROWD = 300
"""With this many waiting callers, resuming them takes about as long as one answer of Kafka."""

LOOP_TURNS = 4
"""Loop turns from a woken caller to the wire: publish, the queue, its send, the engine's write."""


class WakePacing:
    """Spreads the waking of callers over turns of the loop, for all queues of one publisher.

    The engine has one request under way to each broker, and packs whatever waits by then into the next.
    If all callers of one answer were woken together, their next messages would be one request again, and
    this process and the cluster would take turns in waiting for each other.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._woken = 0

    async def take(self, callers: int) -> None:
        """Wait until what the callers woken before publish is on the wire; then `callers` may be woken."""
        # First a turn for the engine, which now writes what waited for this answer.
        await sleep(self._clock, 0)
        async with self._one_at_a_time:
            if self._woken and self._woken + callers > CROWD:
                for _ in range(LOOP_TURNS):
                    await sleep(self._clock, 0)
                self._woken = 0
            self._woken += callers
