"""Changes of handlers while the bus runs: one at a time in each group, each to its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context

from convex_messaging_fastapi.errors import BusStopped


class Changes:
    """The turns that the changes of one bus take, and the tasks that make them.

    A group's turn is the outermost lock: `docs/house.md` has the order of all locks. A stop
    takes no turn: it closes this, which refuses queued changes, and waits for those under way.

    Each change runs in its own task, in a copy of the bus's `context`: what it starts must not see the
    variables of the request that asked for it.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turns: dict[str, asyncio.Lock] = {}
        self._wanted: Counter[str] = Counter()  # changes of a group that have its turn or wait for it
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def under_way(self) -> Collection[asyncio.Task[None]]:
        return tuple(self._tasks)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Refuse every change that is still waiting for its turn."""
        self._is_closed = True

    def is_changing(self, group: str) -> bool:
        """Whether a change begun now would have to wait for its turn."""
        return self._wanted[group] > 0

    def begin(self, group: str, change: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Make a change in its turn and to its end, even if the caller that awaits the task is cancelled.

        Half a change could leave a group unread. The task raises `BusStopped` once this is closed.
        """
        self._wanted[group] += 1  # now: turns are taken in the order of these calls
        task = asyncio.get_running_loop().create_task(
            self._in_turn(group, change), name="convex-change", context=self._context.copy()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._leave(group))
        return task

    async def _in_turn(self, group: str, change: Callable[[], Awaitable[None]]) -> None:
        async with self._turns.setdefault(group, asyncio.Lock()):
            if self._is_closed:
                raise BusStopped("the bus is stopping: its handlers change no more")
            await change()

    def _leave(self, group: str) -> None:
        self._wanted[group] -= 1
        if not self._wanted[group]:
            del self._wanted[group]
            self._turns.pop(group, None)  # groups come and go by the thousand


async def made(change: asyncio.Task[None]) -> None:
    """Wait for a change, and raise what it raised. Cancelling the wait does not end the change."""
    await asyncio.wait([change])
    if change.cancelled():
        raise BusStopped("the bus has stopped before this change of its handlers was made")
    change.result()


def undone_by(undo: Callable[[], None], change: asyncio.Task[None]) -> None:
    """Call `undo` should the change fail, also when nobody waits for it any more."""
    change.add_done_callback(lambda done: undo() if done.cancelled() or done.exception() else None)
