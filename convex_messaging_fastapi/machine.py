"""The running parts of one bus: started in order, stopped in order, shown as one status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.blockage import LoopWatch
from convex_messaging_fastapi.changes import Changes
from convex_messaging_fastapi.clock import Clock, settled_within
from convex_messaging_fastapi.companions import Accompanied
from convex_messaging_fastapi.consuming.dead_letters import DeadLetterWriter
from convex_messaging_fastapi.consuming.endings.bury import DLQ_UNAVAILABLE
from convex_messaging_fastapi.consuming.snapshots import worker_status
from convex_messaging_fastapi.consuming.subscription import Subscription
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.errors import BusStateError, BusStopped
from convex_messaging_fastapi.pausing import Pauses
from convex_messaging_fastapi.publishing.correlation import current_message
from convex_messaging_fastapi.reports import AtWork
from convex_messaging_fastapi.shutdown import COMPANIONS_SHARE, ShutdownTimeouts
from convex_messaging_fastapi.status import BusStatus, Phase
from convex_messaging_fastapi.topic_creation import TopicCreation
from convex_messaging_fastapi.transport.base import NewTopic


@dataclass(frozen=True, slots=True)
class Begins:
    """What a start tells of, and the topics that it creates, where the settings ask for it."""

    cluster: str
    topics: Sequence[NewTopic]


class Machine:
    """Everything that runs: one worker for each group, and what all of them share.

    A machine cannot be started again after `stop`.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        publishing: Accompanied,
        dead_letters: DeadLetterWriter,
        threads: HandlerThreads,
        timeouts: ShutdownTimeouts,
        begins: Begins,
        watch: LoopWatch | None,
        new_worker: Callable[[str], Worker],
        topic_creation: TopicCreation,
        changes: Changes,
        pauses: Pauses,
    ) -> None:
        self._clock = clock
        self._publishing = publishing
        self._dead_letters = dead_letters
        self._threads = threads
        self._timeouts = timeouts
        self._begins = begins
        self._watch = watch
        self._new_worker = new_worker
        self._topic_creation = topic_creation
        self._changes = changes
        self.pauses: Pauses = pauses
        self._workers: dict[str, Worker] = {}

    @property
    def workers(self) -> Collection[Worker]:
        """One for each group."""
        return tuple(self._workers.values())

    def place(self, subscription: Subscription) -> Worker:
        """Give it to the worker of its group, which is made if there is none. Starts neither."""
        group = subscription.config.group
        if (worker := self._workers.get(group)) is None:
            worker = self._workers[group] = self._new_worker(group)
            self.pauses.hold_back(worker)
        worker.add(subscription)
        return worker

    async def start(self) -> None:
        """Start everything; nothing here waits for the cluster."""
        reports.bus_starts(
            self._begins.cluster,
            {
                worker.group: {each.config.id: each.config.topics for each in worker.subscriptions}
                for worker in self._workers.values()
            },
        )
        if self._watch is not None:
            self._watch.start(self._whose)
        await self._publishing.start()
        self._create_topics(None, self._begins.topics)
        self.pauses.start(self._workers.values)
        for worker in self._workers.values():
            await worker.start()

    async def stop(self) -> None:
        """Drain, commit, leave, flush: at most `timeouts.shutdown` seconds, whatever the cluster does.

        It waits for changes under way as for a drain, and cancels them when it is time to leave. A stop
        that is itself cancelled skips the rest of the drain, and still ends everything.
        """
        self._changes.close()
        now = self._clock.now()
        reports.draining(self._at_work(), self._timeouts.drain)
        close_by = now + self._timeouts.shutdown - self._timeouts.abort
        try:
            await self._end_consuming(now + self._timeouts.drain + self._timeouts.leave)
        finally:
            try:
                await self._end_publishing(close_by)
            finally:
                self._threads.close()  # a handler that is stuck must not outlive the process's end
                if self._watch is not None:
                    self._watch.stop()
                reports.bus_stopped(self._clock.now() - now)

    def attach(
        self, subscription: Subscription, topics: Sequence[NewTopic], asker: Subscription | None
    ) -> asyncio.Task[None]:
        """Begin to add one subscription; those of its `topics` that are missing are created.

        `asker` is the subscription whose handler asks for it. Raises `BusStateError` and begins nothing
        if that handler would wait for its own end. The task raises `BusStopped` once the stop has
        begun; if it raises anything, the subscription was not added.
        """
        group = subscription.config.group
        if asker is not None and asker.config.group == group:
            self._refuse_to_queue(asker)
            worker = self._workers.get(group)
            if worker is None or not set(subscription.config.topics) <= set(worker.topics):
                raise _would_wait(asker, f"begin to read {', '.join(subscription.config.topics)}")
        return self._changes.begin(group, partial(self._attach, subscription, topics))

    def detach(self, id: str, group: str, asker: Subscription | None) -> asyncio.Task[None]:
        """Begin to remove one subscription; a worker that has none left leaves its group.

        Raises `BusStateError` as `attach` does. The task raises `BusStopped` once the stop has begun,
        which removes every subscription.
        """
        if asker is not None and asker.config.group == group:
            self._refuse_to_queue(asker)
            if asker.config.id == id:
                raise _would_wait(asker, "unsubscribe itself")
            worker = self._workers.get(group)
            if worker is not None and _would_rebuild(worker, without=id):
                raise _would_wait(asker, f"unsubscribe {id!r}, the last handler of a topic of its group,")
        return self._changes.begin(group, partial(self._detach, id, group))

    def status(self, phase: Phase, *, publishes: bool) -> BusStatus:
        """`publishes` says whether anything was published, or tried to be."""
        buries = self._buries()
        workers = tuple(worker_status(worker, self._clock) for worker in self._workers.values())
        waits = any(held.held == DLQ_UNAVAILABLE for worker in workers for held in worker.partitions)
        return BusStatus(
            phase=phase,
            producer=replace(self._publishing.producer(), needed=publishes or buries),
            workers=workers,
            # A dead letter waits here, or has no topic yet. One that failed may be another process's by now.
            problems=(DLQ_UNAVAILABLE,) if waits or (buries and self._dead_letters.no_topic) else (),
            threads=self._threads.status(),
            outboxes=self._publishing.outboxes(),
        )

    def _at_work(self) -> list[AtWork]:
        begun = [each for worker in self._workers.values() for each in worker.begun]
        return [work for each in begun for work in each.at_work]

    def _whose(self, task: asyncio.Task[Any]) -> AtWork | None:
        """The handler that a task runs. Called from another thread while the loop is blocked."""
        for worker in tuple(self._workers.values()):
            for each in worker.begun:
                if (work := each.work_of(task)) is not None:
                    return work
        # Tasks that a handler started know its message; Python 3.11 does not tell the context of a task.
        context_of: Callable[[], Context] = getattr(task, "get_context", Context)
        record = context_of().get(current_message)
        return None if record is None else AtWork("what a handler has begun", None, record, None)

    def _buries(self, *, without: Subscription | None = None) -> bool:
        """Whether any message that fails here becomes a dead letter."""
        return any(
            subscription.config.buries and subscription is not without
            for worker in self._workers.values()
            for subscription in worker.subscriptions
        )

    # -- changes -------------------------------------------------------------------------------

    def _refuse_to_queue(self, asker: Subscription) -> None:
        """A handler must not wait for its turn: the change that has it may be waiting for that handler."""
        if self._changes.is_changing(asker.config.group):
            raise BusStateError(
                f"another change of group {asker.config.group!r} is under way, and may be waiting for the "
                f"handler {asker.config.id!r}, which asks for this one. {_WAY_OUT}"
            )

    async def _attach(self, subscription: Subscription, topics: Sequence[NewTopic]) -> None:
        config = subscription.config
        worker = self._workers.get(config.group)
        reports.handler_joins(config.group, config.id, config.topics)
        self._create_topics(subscription, topics)
        self.pauses.tell(subscription)
        try:
            if worker is None:
                await self._open_group(subscription)
            else:
                await self._add(worker, subscription)
            self.pauses.tell(subscription)  # once more: joining takes time
            if self._changes.is_closed:
                raise BusStopped("the bus is stopping: it takes in no more handlers")
        except BaseException:
            self._forget_topics(subscription)
            raise

    async def _open_group(self, subscription: Subscription) -> None:
        worker = self.place(subscription)
        try:
            await worker.start()
            if self._changes.is_closed:  # a stop before this start found nothing to stop
                raise BusStopped("the bus is stopping: it joins no more groups")
        except BaseException:
            self._workers.pop(worker.group, None)
            await self._end(worker)
            raise

    async def _add(self, worker: Worker, subscription: Subscription) -> None:
        try:
            await worker.attach(subscription, self._timeouts.drain)
        except BaseException:
            if not self._changes.is_closed:
                await self._replace(worker, without=subscription)
            raise

    async def _detach(self, id: str, group: str) -> None:
        worker = self._workers.get(group)
        gone = None if worker is None else next((s for s in worker.subscriptions if s.config.id == id), None)
        if worker is None or gone is None:
            return  # attaching it has failed
        reports.handler_leaves(group, id)
        self._forget_topics(gone)
        try:
            await worker.detach(id, self._timeouts.drain)
        except BaseException:
            if not self._changes.is_closed:
                await self._replace(worker, without=gone)
            raise
        if not worker.subscriptions:
            self._workers.pop(group, None)
            await self._end(worker)

    async def _replace(self, worker: Worker, *, without: Subscription) -> None:
        """Replace a worker that failed amid a change, and may read nothing now, by one for the others."""
        successor = self._new_worker(worker.group)
        for subscription in worker.subscriptions:
            if subscription is not without:
                successor.add(subscription)
        await self._end(worker)
        if successor.subscriptions:
            self._workers[worker.group] = successor
            self.pauses.hold_back(successor)
            await successor.start()
        else:
            self._workers.pop(worker.group, None)

    async def _end(self, worker: Worker) -> None:
        """Leave the group without a drain, even if this is cancelled or the worker has not quite started."""
        try:
            await worker.stop(0.0, self._clock.now() + self._timeouts.leave)
        finally:
            await worker.abort(self._clock.now() + self._timeouts.abort)

    def _create_topics(self, whose: Subscription | None, topics: Sequence[NewTopic]) -> None:
        """Begin to create `topics`, and the dead-letter topic if anything may be buried."""
        self._topic_creation.topics(whose, topics)
        if self._buries() or (whose is not None and whose.config.buries):
            self._topic_creation.dead_letters(self._dead_letters.prepare)

    def _forget_topics(self, whose: Subscription) -> None:
        """Stop creating its topics; and the dead-letter topic, if nothing else may be buried."""
        self._topic_creation.forget(whose)
        if not self._buries(without=whose):
            self._topic_creation.forget(self._dead_letters.prepare)

    # -- the end -------------------------------------------------------------------------------

    async def _end_consuming(self, leave_by: float) -> None:
        workers, timeouts = tuple(self._workers.values()), self._timeouts
        steps: dict[str, Coroutine[Any, Any, object]] = {
            f"leaving group {worker.group}": worker.stop(timeouts.drain, leave_by - timeouts.abort)
            for worker in workers
        }
        steps["ending the making of topics"] = self._topic_creation.stop()
        steps["ending the question for pauses"] = self.pauses.stop()
        steps["ending the changes of handlers"] = _ended(self._changes.under_way)
        try:
            await self._within(leave_by, steps)
        finally:
            # In any case: for a worker that has stopped well nothing is left to do.
            aborted_by = self._clock.now() + timeouts.abort
            rest: dict[str, Coroutine[Any, Any, object]] = {
                f"letting go of group {worker.group}": worker.abort(aborted_by) for worker in workers
            }
            rest["ending the question for the dead letters' topic"] = self._dead_letters.stop()
            await self._within(aborted_by, rest)

    async def _end_publishing(self, close_by: float) -> None:
        """What handlers have left to companions is published before the producer is closed."""
        half = max(0.0, close_by - self._clock.now()) * COMPANIONS_SHARE
        try:
            await self._within(self._clock.now() + half, self._publishing.stops_of_companions(half))
        finally:
            left = max(0.0, close_by - self._clock.now())
            await self._within(close_by, self._publishing.stop_of_publisher(left))

    async def _within(self, deadline: float, steps: Mapping[str, Coroutine[Any, Any, object]]) -> None:
        """Take these steps side by side; one that fails or is late holds up no other."""
        if not steps:
            return
        tasks = {asyncio.create_task(step, name=f"convex-stop: {what}"): what for what, step in steps.items()}
        together = asyncio.ensure_future(asyncio.wait(tasks))
        try:
            await settled_within(self._clock, together, deadline - self._clock.now())
        finally:
            late = [task for task in tasks if not task.done()]
            for task in late:
                reports.step_was_late(tasks[task])
                task.cancel()
            await settled_within(self._clock, together, self._timeouts.abort if late else 0.0)
            together.cancel()
            for task, what in tasks.items():
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    reports.defect(f"{what} failed", error)


async def _ended(changes: Collection[asyncio.Task[None]]) -> None:
    """Wait for these to end; if cancelled, cancel them, and wait for that."""
    if not changes:
        return
    try:
        await asyncio.wait(changes)
    except asyncio.CancelledError:
        for change in changes:
            change.cancel()
        await asyncio.wait(changes)
        raise


def _would_rebuild(worker: Worker, *, without: str) -> bool:
    """Whether a worker without this subscription reads fewer topics, or none."""
    rest = [subscription for subscription in worker.subscriptions if subscription.config.id != without]
    return {topic for subscription in rest for topic in subscription.config.topics} != set(worker.topics)


_WAY_OUT = (
    "Let a task outside of handlers do it, one that was begun before and waits for an event of this handler"
)


def _would_wait(asker: Subscription, what: str) -> BusStateError:
    return BusStateError(
        f"the handler {asker.config.id!r} of group {asker.config.group!r} cannot {what} while it handles a "
        f"message: it would wait for handlers of the group to return, and so for this one. {_WAY_OUT}"
    )
