"""An end for certain: of the engine's parts, whatever their own one waits for; and why a part has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, settled_within
from convex_messaging_fastapi.transport.kafka.engine.connections.client import Client

LETTING_GO_SECONDS = 0.5
"""How long one forced step of an end may take, if there is so much time."""


async def end(
    clock: Clock,
    deadline: float,
    stopping: Coroutine[Any, Any, None],
    tasks: Iterable[asyncio.Task[Any] | None],
    client: Client,
) -> bool:
    """Run the engine's own `stop`, and end its parts by force when it fails or is late; true if it was clean.

    The engine's `stop` may wait for ever in an outage, or raise `CancelledError` without a cancellation and
    leave its connections open.
    """
    stop = asyncio.ensure_future(stopping)
    left = max(0.0, deadline - clock.now())
    step = min(LETTING_GO_SECONDS, left / 6)
    in_time = await settled_within(clock, stop, left - 3 * step)
    if in_time and not stop.cancelled() and stop.exception() is None:
        return True
    await _cancel(clock, [stop, *(task for task in tasks if task is not None)], step)
    closing = asyncio.ensure_future(client.close())
    if not await settled_within(clock, closing, step):
        await _cancel(clock, [closing], step)
    elif not closing.cancelled() and (error := closing.exception()) is not None:
        # A task of the engine had ended with this error before, and `failure_of` has told of it.
        reports.no_answer("closing the connections of the engine", repr(error))
    return False


async def _cancel(clock: Clock, tasks: Iterable[asyncio.Future[Any]], seconds: float) -> None:
    """Cancel these, and wait up to `seconds` for all to end; their errors count as seen."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    ended = asyncio.ensure_future(asyncio.gather(*pending, return_exceptions=True))
    if not await settled_within(clock, ended, seconds):
        # The gathered tasks end later, with an error that asyncio would log if nobody looked at it.
        ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        ended.cancel()


def failure_of(name: str, task: asyncio.Task[Any] | None) -> str | None:
    """Why a task of the engine that should run for ever has ended; `None` while it runs."""
    if task is None or not task.done():
        return None
    if task.cancelled():
        return f"the engine's {name} was cancelled"
    error = task.exception()
    return f"the engine's {name} ended: {error!r}"
