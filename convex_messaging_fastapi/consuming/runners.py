"""The tasks that run the handlers of one subscription: what each is at work on, and which were cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from convex_messaging_fastapi.clock import Clock, time_limit
from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition


class Runners:
    """A runner enters itself before its first job, since an eager task runs before its maker goes on.

    `jobs` is what each is at work on; it is empty while a runner is between two jobs.
    """

    def __init__(self, clock: Clock) -> None:
        self.jobs: dict[asyncio.Task[None], Sequence[Job]] = {}
        self.watchers: int = 0  # how many wait in `quiet`
        self.given_up: list[Sequence[Job]] = []  # the jobs of those that were cancelled
        self._asked_to_end: dict[asyncio.Task[None], Sequence[Job]] = {}
        self._clock = clock
        self._changed = asyncio.Event()

    @property
    def busy(self) -> int:
        return sum(1 for jobs in self.jobs.values() if jobs)

    @property
    def is_one_between_jobs(self) -> bool:
        return () in self.jobs.values()

    def add(self, task: asyncio.Task[None]) -> None:
        """A runner was made. It may have begun or even ended already."""
        if not task.done():
            self.jobs.setdefault(task, ())

    def remove(self, task: asyncio.Task[None]) -> None:
        self.jobs.pop(task, None)
        self._asked_to_end.pop(task, None)
        self._changed.set()

    def note_change(self) -> None:
        self._changed.set()

    def cancel(self, partitions: Iterable[OwnedPartition]) -> None:
        """Cancel runners that are at work on these, each once: a second time would cut short its cleaning up.

        They are remembered: a runner that is cancelled by anything else has a message that failed.
        """
        wanted = set(partitions)
        for task, jobs in self.jobs.items():
            if self._asked_to_end.get(task) is not jobs and any(job.owned in wanted for job in jobs):
                self._asked_to_end[task] = jobs
                task.cancel()

    def is_asked_to_end(self) -> bool:
        """Whether the current task is a runner that was cancelled here, on the jobs it is at work on."""
        task = _current_task()
        if task is None or task not in self._asked_to_end:
            return False
        return self._asked_to_end[task] is self.jobs.get(task)

    def is_at_work_here(self) -> bool:
        """Whether the current task is a runner; false while the garbage collector closes one."""
        return _current_task() in self.jobs

    def at_work_on(self, partitions: Collection[OwnedPartition]) -> list[Sequence[Job]]:
        return [jobs for jobs in self.jobs.values() if any(job.owned in partitions for job in jobs)]

    def is_busy_with(self, partitions: Collection[OwnedPartition]) -> bool:
        return any(job.owned in partitions for jobs in self.jobs.values() for job in jobs)

    async def quiet(self, partitions: Collection[OwnedPartition], deadline: float) -> None:
        """Return once none is at work on these any more, or the deadline is here."""
        if self._clock.now() >= deadline:
            return
        self.watchers += 1
        try:
            with suppress(TimeoutError):
                async with time_limit(self._clock, deadline - self._clock.now()):
                    while self.is_busy_with(partitions):
                        self._changed.clear()
                        await self._changed.wait()
        finally:
            self.watchers -= 1


def _current_task() -> asyncio.Task[None] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None
