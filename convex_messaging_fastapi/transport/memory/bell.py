"""What a waiting call of the memory transport is woken by, from whichever thread the news comes."""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi.clock import Clock


class Bell:
    """Belongs to the loop that made it; only that loop waits, anybody rings."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> bool:
        """Wake whoever waits; `False` once nobody can hear it any more, its loop being closed."""
        if _running_loop() is self._loop:
            self._rung.set()
            return True
        try:
            self._loop.call_soon_threadsafe(self._rung.set)
        except RuntimeError:
            return False
        return True

    async def wait(self, clock: Clock, until: float = float("inf")) -> None:
        """Return once rung since the last `quiet`, or at that time on the clock."""
        if until == float("inf"):
            await self._rung.wait()
            return
        timer = clock.look_later(until - clock.now(), self._rung.set)
        try:
            await self._rung.wait()
        finally:
            timer.cancel()

    def quiet(self) -> None:
        """From here on every ring counts; call it before looking at what may change."""
        self._rung.clear()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
