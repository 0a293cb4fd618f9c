"""Filters out the records that a subscriber does not want: they are finished unhandled, and counted."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.consuming.assignment import Job
from convex_messaging_fastapi.consuming.attempts import blamed_on_message
from convex_messaging_fastapi.consuming.dispatch import Dispatch
from convex_messaging_fastapi.consuming.outcome import Outcome
from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.policies import Filter
from convex_messaging_fastapi.records import Record


class Undecided(Job):
    """A job whose filter has raised. `problem` is what it raised, until that attempt is judged."""

    __slots__ = ("is_wanted", "problem")

    def __init__(self, job: Job, problem: BaseException) -> None:
        super().__init__(job.record, job.owned, job.size)
        self.problem: BaseException | None = problem
        self.is_wanted: bool = False
        self.single = True  # the others of its batch need not fail with it


class Filtering:
    """Asks a filter about each record once; where the filter raises, again at each further attempt."""

    def __init__(self, handler: str, wants: Filter, dispatch: Dispatch) -> None:
        self._handler = handler
        self._wants = wants
        self._dispatch = dispatch

    def split(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """The jobs to be queued, and those that are filtered out, which are finished."""
        queued: list[Job] = []
        filtered_out: list[Job] = []
        for job in jobs:
            try:
                (queued if self._is_wanted(job) else filtered_out).append(job)
            except KeyboardInterrupt:
                raise
            except BaseException as problem:  # noqa: BLE001 - judged at its turn, as what a handler raises
                queued.append(Undecided(job, problem))
        self._dispatch.tally.filtered += len(filtered_out)
        return queued, filtered_out

    async def handle(self, jobs: Sequence[Job]) -> Outcome | None:
        """As `Dispatch.handle`; the first job may be undecided, and is then the only one."""
        job = jobs[0]
        if not isinstance(job, Undecided) or job.is_wanted or job.failure is not None:
            return await self._dispatch.handle(jobs)
        problem, job.problem = job.problem, None
        if problem is None:
            try:
                job.is_wanted = self._is_wanted(job)
            except BaseException as error:  # noqa: BLE001 - raised again where it is not the message's doing
                problem = error
        if problem is not None:
            return await self._dispatch.failed(job, blamed_on_message(problem, self._dispatch.runners))
        if job.is_wanted:
            return await self._dispatch.handle(jobs)
        self._dispatch.tally.filtered += 1
        return None

    def _is_wanted(self, job: Job) -> bool:
        answer = self._wants(self._dispatch.delivery(job))
        if answer is True or answer is False:
            return answer
        if inspect.iscoroutine(answer):
            answer.close()  # or Python warns that nobody has awaited it
        raise DeclarationError(
            f"the filter of {self._handler} answered {_kind_of(answer)}: a filter is a plain function that "
            "answers True or False"
        )


def _kind_of(answer: object) -> str:
    """Names the kind alone: the answer itself may be a piece of the message."""
    return "None" if answer is None else f"a value of type {type(answer).__name__}"


class Unhandled:
    """Counts records that every subscription of one group filtered out; logs the first of each topic."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._told: set[str] = set()
        self.count: int = 0

    def note(self, records: Sequence[Record]) -> None:
        """These records of one topic were for no handler."""
        self.count += len(records)
        if records and records[0].topic not in self._told:
            self._told.add(records[0].topic)
            reports.unhandled(records[0], self._group)
