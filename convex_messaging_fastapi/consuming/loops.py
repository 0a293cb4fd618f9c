"""The tasks that keep a worker going, and where it is in its life."""

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
    """It lives once: make another."""


class Loops:
    """Runs some endless loops, each as a task of its name."""

    def __init__(self, loops: Mapping[str, Loop]) -> None:
        self._loops = loops
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.phase = Phase.NEW

    def start(self) -> None:
        self._tasks = tuple(asyncio.create_task(loop(), name=name) for name, loop in self._loops.items())
        for task in self._tasks:
            task.add_done_callback(say_why_it_ended)

    async def stop(self) -> bool:
        """Cancel them and see them end; whether they had been started, and not been stopped before."""
        # Let go of before they are cancelled: that they end is no failure of theirs.
        tasks, self._tasks = self._tasks, ()
        await cancelled(*tasks)
        return bool(tasks)

    @property
    def are_running(self) -> bool:
        return bool(self._tasks)

    @property
    def have_failed(self) -> bool:
        """Whether one has ended by itself, which it must not."""
        return any(task.done() for task in self._tasks)
