"""Waiting in a test: in its thread as the tools do, on its event loop, or for a time that a fault takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tools.waiting import EVERY_SECONDS, until

__all__ = ["eventually", "pass_time", "until"]


def pass_time(seconds: float, since: float | None = None) -> None:
    """For what takes time by its nature, as a fault: `seconds` from now, or from a time (CLOCK_MONOTONIC)."""
    over = (time.monotonic() if since is None else since) + seconds
    until(lambda: time.monotonic() > over, seconds + 10, "a fault to pass")


async def eventually(condition: Callable[[], object], within: float, what: str) -> None:
    """The same for a test on the event loop; `condition` must not block."""
    async with asyncio.timeout(within) as limit:
        while not condition():
            try:
                await asyncio.sleep(EVERY_SECONDS)  # simulates work: of another process
            except asyncio.CancelledError:
                if limit.expired():
                    raise TimeoutError(f"waited {within:g} s for {what}") from None
                raise
