"""Turns of the event loop, for tests that turn the clock by hand: until nothing is left that can go on."""

from __future__ import annotations

import asyncio


async def until_idle(most: int) -> None:
    """Let the loop go on until nothing is ready to run, for at most so many turns.

    Once nothing is, further turns would show nothing new: everything waits for time, for a thread
    or for the outside. The loop tells by an attribute of its own; one that has none gets all turns.
    """
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    for _ in range(most):
        await asyncio.sleep(0)
        if ready is not None and not ready:
            return
