"""Hands each copy in a group's replay topic to the subscription that it names, as the original again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition, Stray
from convex_messaging_fastapi.consuming.handing_out import jobs_for
from convex_messaging_fastapi.consuming.routes import Routes
from convex_messaging_fastapi.consuming.subscription import Subscription
from convex_messaging_fastapi.errors import NoSuchHandler
from convex_messaging_fastapi.failures import Failure, type_name
from convex_messaging_fastapi.messages.copies import read_copy
from convex_messaging_fastapi.messages.validation_errors import MAX_NAME, one_line
from convex_messaging_fastapi.records import Record


class Replays:
    """The copies of one worker. `finished` is told of jobs that may be committed as they are.

    A filter is not asked: the handler failed on the message, so it passed the filter once. A copy that
    names another group is passed over, for groups whose topics have one name read each other's. One whose
    handler is gone, or that names none, is buried again, whatever other handlers want of their failures.
    """

    def __init__(self, routes: Routes, finished: Callable[[Sequence[Job]], None]) -> None:
        self._routes = routes
        self._finished = finished
        self.handed_out: int = 0

    def hand_out(self, records: Sequence[Record], owned: OwnedPartition) -> None:
        """Enter the records in the ledger, then queue them; call `start_ready` after the last ones."""
        foreign: list[Job] = []
        for job in jobs_for(records, owned, 1):
            copy = read_copy(job.record)
            if copy.group not in (None, self._routes.group):
                foreign.append(job)
            elif copy.handler is None or (named := self._routes.get(copy.handler)) is None:
                self._bury(Stray(job, copy.original, self._nobody(copy.handler)))
            else:
                self.handed_out += 1
                job.record = copy.original
                named.offer(owned, (job,), is_wanted=True)
        if foreign:
            self._finished(foreign)

    def take_back(self, jobs: Sequence[Job], handler: str) -> Sequence[Job]:
        """Have those buried that are copies for `handler`, which has left; returns the others."""
        others: list[Job] = []
        for job in jobs:
            if job.owned.topic_partition.topic != self._routes.replay_topic:
                others.append(job)
                continue
            failure = job.failure if isinstance(job, Stray) else None
            self._bury(Stray(job, job.record, failure or self._nobody(handler))).start_ready()
        return others

    def _bury(self, stray: Stray) -> Subscription:
        """Any subscription will do: it is only to end the job in a turn of its own."""
        host = next(iter(self._routes.subscriptions))
        host.offer(stray.owned, (stray,), is_wanted=True)
        return host

    def _nobody(self, handler: str | None) -> Failure:
        group = one_line(self._routes.group, MAX_NAME)
        name = None if handler is None else one_line(_readable(handler), MAX_NAME)
        error = NoSuchHandler(
            f"a copy in the replay topic of group {group!r} names no handler"
            if name is None
            else f"group {group!r} has no handler {name!r} any more"
        )
        return Failure(type_name(error), str(error), "", 0, group, name)


def _readable(name: str) -> str:
    """A name may hold bytes that are no text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
