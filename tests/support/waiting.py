"""Waiting for something outside this process that cannot call back: ask again until it is so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

EVERY_SECONDS = 0.02

_never = threading.Event()


def until(condition: Callable[[], object], within: float, what: str) -> None:
    """Return once `condition()` is true; fail with `what` after `within` seconds. Blocks the thread."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:g} s for {what}")
        _never.wait(EVERY_SECONDS)


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
