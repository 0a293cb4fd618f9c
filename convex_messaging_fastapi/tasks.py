"""Tasks whose maker can store them before they run, and is told why they end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from convex_messaging_fastapi import reports

T = TypeVar("T")


def later(work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
    """A task whose first step is taken in a later turn of the running loop, never inside this call.

    `asyncio.create_task` promises that only without a task factory: under Python 3.12's
    `eager_task_factory` a task may end before its maker has stored it, and storing it then overwrites
    what the task noted about its end.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop(), name=name)


def say_why_it_ended(task: asyncio.Task[None]) -> None:
    """Report a task that nobody awaits; from now on `/health/kafka/live` asks for a restart."""
    if not task.cancelled() and (error := task.exception()) is not None:
        reports.defect(f"{task.get_name()} ended, which it must not", error, fatal=True)


async def cancelled(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel our own tasks, and wait for their end."""
    alive = [task for task in tasks if task is not None]
    for task in alive:
        task.cancel()
    for outcome in await asyncio.gather(*alive, return_exceptions=True):
        if isinstance(outcome, Exception):
            reports.defect("a task had failed before it was cancelled", outcome)
