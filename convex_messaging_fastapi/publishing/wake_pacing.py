"""Lets one crowd of callers be woken at a time, so that the cluster has work while the others are."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.clock import Clock, sleep

CROWD = 300
"""With this many waiting callers, resuming them takes about as long as one answer of Kafka."""

LOOP_TURNS = 4
"""From a woken caller to the wire: publish, the queue, its send, the engine that writes it."""


class WakePacing:
    """Spreads the waking of callers over turns of the loop, for all queues of one publisher.

    The engine has one request under way to each broker, and puts in the next whatever waits by
    then. Were all whom one answer concerns woken together, all they publish next would be one
    request again, and this process and the cluster would forever wait for each other.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._woken = 0

    async def take(self, callers: int) -> None:
        """Returns once what the crowd before was woken for is on the wire; then so many may be woken."""
        # The engine's own turn first, in which it puts what waited for this answer on the wire.
        await sleep(self._clock, 0)
        async with self._one_at_a_time:
            if self._woken and self._woken + callers > CROWD:
                for _ in range(LOOP_TURNS):
                    await sleep(self._clock, 0)
                self._woken = 0
            self._woken += callers
