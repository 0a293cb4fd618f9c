"""The background tasks of a worker, and the phase of its life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum, auto

from convex_messaging_fastapi.tasks import cancelled, say_why_it_ended

Loop = Callable[[], Coroutine[object, object, None]]


class Phase(Enum):
    """A worker goes through these in order, but comes back from `CHANGING` to `AT_WORK`."""

    NEW = auto()
    AT_WORK = auto()
    CHANGING = auto()
    """Its consumer is rebuilt: it takes nothing in meanwhile."""
    ENDED = auto()
    """For good: a worker is not started twice."""


class Loops:
    """Runs endless loops, each as a task with a name."""

    def __init__(self, loops: Mapping[str, Loop]) -> None:
        self._loops = loops
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.phase = Phase.NEW

    def start(self) -> None:
        self._tasks = tuple(asyncio.create_task(loop(), name=name) for name, loop in self._loops.items())
        for task in self._tasks:
            task.add_done_callback(say_why_it_ended)

    async def stop(self) -> bool:
        """Cancel them and wait for their end; whether they were running."""
        # Forgotten before they are cancelled, so that their end does not count as a failure.
        tasks, self._tasks = self._tasks, ()
        await cancelled(*tasks)
        return bool(tasks)

    @property
    def are_running(self) -> bool:
        return bool(self._tasks)

    @property
    def have_failed(self) -> bool:
        """Whether one has ended by itself, which none may."""
        return any(task.done() for task in self._tasks)
