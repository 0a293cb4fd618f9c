"""The time limit of an attempt: the outermost middleware of every handler that has a `timeout`."""

from __future__ import annotations

import asyncio
from typing import Any

from convex_messaging_fastapi.clock import Clock, time_limit
from convex_messaging_fastapi.errors import AttemptTimedOut
from convex_messaging_fastapi.middleware import CallNext, Middleware
from convex_messaging_fastapi.records import Delivery


class AttemptTimeout(Middleware):
    """Cancels an attempt after so many seconds, and fails it with `AttemptTimedOut`."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock

    async def __call__(self, delivery: Delivery | list[Delivery], message: Any, call_next: CallNext) -> None:
        problem: BaseException | None = None
        try:
            async with time_limit(self._clock, self._seconds):
                try:
                    await call_next(delivery, message)
                except asyncio.CancelledError:
                    raise  # the limit itself tells whether it was its own
                except BaseException as error:  # noqa: BLE001 - raised below; a `TimeoutError` is the handler's
                    problem = error
        except TimeoutError:
            raise AttemptTimedOut(f"the handler did not return within {self._seconds:g} s") from None
        if problem is not None:
            try:
                raise problem
            finally:
                del problem  # or it would hold this frame, and this frame it
