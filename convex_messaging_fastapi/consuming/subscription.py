"""Runs one handler: its lanes, and the few runners that each take the next ready lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.batch_timers import BatchTimers
from convex_messaging_fastapi.consuming.breaking import Handle
from convex_messaging_fastapi.consuming.dispatch import Dispatch
from convex_messaging_fastapi.consuming.filtering import Filtering
from convex_messaging_fastapi.consuming.gate import Gate
from convex_messaging_fastapi.consuming.holds import Hold
from convex_messaging_fastapi.consuming.lanes import (
    IDLE,
    Lane,
    LaneKey,
    Lanes,
    by_key,
    by_key_or_unordered,
    by_partition,
    unordered,
)
from convex_messaging_fastapi.consuming.outcome import Outcome
from convex_messaging_fastapi.messages.pauses import Pause
from convex_messaging_fastapi.policies import Batch, Filter, Ordering
from convex_messaging_fastapi.publishing.correlation import current_message
from convex_messaging_fastapi.records import Record
from convex_messaging_fastapi.reports import AtWork
from convex_messaging_fastapi.status import SubscriptionStatus
from convex_messaging_fastapi.subscribers import Kind

PAUSED = "paused"

TURN_SECONDS = 0.005
"""How often a runner whose handler never waits yields to the event loop, so that heartbeats go on."""


@dataclass(frozen=True, slots=True)
class SubscriptionConfig:
    """Who handles what, in which order, how many at once. Topics are names on the wire."""

    id: str
    kind: Kind
    topics: tuple[str, ...]
    group: str
    ordering: Ordering
    concurrency: int
    batch: Batch | None
    buries: bool = True
    """Whether what fails may become a dead letter."""
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Feeder:
    """What a subscription tells the worker that feeds it."""

    finished: Callable[[Sequence[Job]], None]
    """These may be committed."""
    left: Callable[[Sequence[Job]], None]
    """These will never be finished here: the subscription was taken away."""
    idle: Callable[[], None]
    """A handler has nothing to do."""
    hold: Callable[[str, Hashable, Hold], None]
    """Fetch nothing more of this topic."""
    lift: Callable[[str, Hashable], None]


class Subscription:
    """Runs one handler, and tells the worker that feeds it of every job that may be committed.

    Handlers see the variables of `context`, not those of the task that happens to start them.
    """

    def __init__(
        self, config: SubscriptionConfig, dispatch: Dispatch, clock: Clock, context: Context
    ) -> None:
        self.config = config
        self.feeder: Feeder = Feeder(_unfed, _unfed, _unwatched, _unwatched, _unwatched)
        self._dispatch = dispatch
        self._filtering = Filtering(config.id, config.filter, dispatch) if config.filter is not None else None
        self._runners = dispatch.runners
        self._clock = clock
        self._lanes = Lanes(lane_key_of(config), config.batch.max_records if config.batch else 1)
        max_wait_seconds = config.batch.max_wait_seconds if config.batch else 0.0
        self._batch_timers = BatchTimers(self._lanes, clock, max_wait_seconds, self.start_ready)
        self._context = context
        self._finished: list[Job] = []  # in this turn of the loop; the feeder hears of them in the next
        self.gate: Gate = Gate()
        self.failed: bool = False
        if dispatch.breaker is not None:
            dispatch.breaker.protect(self)

    def offer(self, owned: OwnedPartition, jobs: Sequence[Job], *, is_wanted: bool = False) -> Sequence[Job]:
        """Queue jobs of one partition; call `start_ready` after the last ones. Returns those filtered out.

        Where `is_wanted` the filter is not asked.
        """
        filtered_out: Sequence[Job] = ()
        if self._filtering is not None and not is_wanted:
            jobs, filtered_out = self._filtering.split(jobs)
            if filtered_out and not self._finished:
                asyncio.get_running_loop().call_soon(self._tell_finished)
            self._finished += filtered_out
        for lane in self._lanes.add(owned, jobs):
            self._batch_timers.start(lane)
        return filtered_out

    def close_batches_of(self, owned: OwnedPartition) -> None:
        """Start the batches of this partition as they are: no more members can come."""
        if self.config.batch is not None and self._lanes.close_batches(owned):
            self.start_ready()

    @property
    def short_of_work(self) -> bool:
        """Whether every ready lane finds a free handler, so that a record fetched now could start at once."""
        return self._lanes.ready + len(self._runners.jobs) <= self.config.concurrency

    @property
    def has_ready(self) -> bool:
        """Whether some message could begin now."""
        return self._lanes.has_ready

    @property
    def lanes_with_work(self) -> int:
        return self._lanes.number

    @property
    def is_at_work(self) -> bool:
        return bool(self._runners.jobs)

    def start_ready(self) -> None:
        """Start runners for ready lanes, up to the concurrency."""
        if self._lanes.ready:
            self._start_runners(1)
            self._start_others_soon()

    def _start_others_soon(self) -> None:
        # Only once the first has run: where the handler never waits, it has done everything by then.
        if self._lanes.ready > 1:
            asyncio.get_running_loop().call_soon(self._start_others)

    def _start_others(self) -> None:
        # A runner between two jobs has not waited for anything: jobs go on in the order they came.
        if not self._runners.is_one_between_jobs:
            self._lanes.sort()
            self._start_runners(self.config.concurrency)

    def _start_runners(self, most: int) -> None:
        # A runner between two jobs takes the next one itself, and then starts others.
        if not self.gate.begins or self._runners.is_one_between_jobs:
            return
        for _ in range(min(most, self.config.concurrency - len(self._runners.jobs), self._lanes.ready)):
            context = self._context.copy()
            task = asyncio.get_running_loop().create_task(
                self._run(context), name=f"convex-runner {self.config.id}", context=context
            )
            self._runners.add(task)
            task.add_done_callback(self._runner_ended)

    def close(self) -> None:
        """Start nothing from now on. Running handlers go on; what they do not finish is left to others."""
        self.gate.close()
        self.lift((PAUSED, self.config.id))
        if self._dispatch.breaker is not None:
            self._dispatch.breaker.end()

    @property
    def paused(self) -> Pause | None:
        """Who keeps its handler from beginning anything, if an operator does."""
        why = self.gate.why(PAUSED)
        return why if isinstance(why, Pause) else None

    def pause(self, pause: Pause) -> None:
        """Begin nothing new until `resume`, and fetch nothing more of its topics, whoever else reads them."""
        self.gate.shut(PAUSED, pause)
        self.hold((PAUSED, self.config.id), Hold(PAUSED))

    def resume(self) -> None:
        """Go on with everything, an operator says: an open breaker closes, too. Harmless otherwise."""
        self.gate.open(PAUSED)
        self.lift((PAUSED, self.config.id))
        if self._dispatch.breaker is not None:
            self._dispatch.breaker.close()
        self.start_ready()

    def hold(self, owner: Hashable, hold: Hold) -> None:
        """Fetch nothing more of its topics, whoever else reads them in this worker."""
        for topic in self.config.topics:
            self.feeder.hold(topic, owner, hold)

    def lift(self, owner: Hashable) -> None:
        """End what `hold` has begun for this owner."""
        for topic in self.config.topics:
            self.feeder.lift(topic, owner)

    def drop(self, owned: OwnedPartition) -> list[Job]:
        """Remove the waiting jobs of one ownership, and return them; running handlers go on."""
        dropped = self._lanes.drop(owned)
        owned.holds.lift(dropped)
        if self._dispatch.breaker is not None:
            self._dispatch.breaker.forget(owned)
        self._batch_timers.forget_dropped()
        return dropped

    def cancel(self, partitions: Iterable[OwnedPartition]) -> None:
        """Cancel the handlers that are at work on these; their messages stay unfinished."""
        self._runners.cancel(partitions)

    async def quiesced(self, partitions: Iterable[OwnedPartition], deadline: float) -> bool:
        """Wait until no handler is at work on these, at most until the deadline; whether none is.

        The feeder has heard by then of everything they have finished.
        """
        wanted = set(partitions)
        await self._runners.quiet(wanted, deadline)
        self._tell_finished()
        return not self._runners.is_busy_with(wanted)

    @property
    def at_work(self) -> list[AtWork]:
        """Each message, or the first of each batch, that the handler is at work on."""
        return [self._work_on(jobs[0]) for jobs in tuple(self._runners.jobs.values()) if jobs]

    def work_of(self, task: asyncio.Task[Any]) -> AtWork | None:
        """What this task runs the handler on; may be asked from any thread."""
        jobs = self._runners.jobs.get(task)
        return self._work_on(jobs[0]) if jobs else None

    def _work_on(self, job: Job) -> AtWork:
        return AtWork(self.config.id, self.config.group, job.record, job.attempts + 1)

    def report_given_up(self, partitions: Iterable[OwnedPartition], seconds: float, most: int) -> None:
        """Log what was not finished after `seconds`: up to `most` messages with a line each."""
        cancelled, self._runners.given_up = self._runners.given_up, []
        running = self._runners.at_work_on(set(partitions))
        told = [(job, False) for jobs in cancelled for job in jobs]
        told += [(job, True) for jobs in running for job in jobs]
        for job, runs in told[:most]:
            reports.given_up(self._work_on(job), seconds, runs=runs, left=self.gate.closed)
        if len(told) > most:
            reports.more_given_up(self.config.group, len(told) - most)

    def handles(self, record: Record) -> bool:
        """Whether the handler is at work on this record, alone or as a member of a batch."""
        return any(job.record is record for jobs in self._runners.jobs.values() for job in jobs)

    def status(self) -> SubscriptionStatus:
        tally = self._dispatch.tally
        config = self.config
        return SubscriptionStatus(
            id=config.id,
            topics=config.topics,
            group=config.group,
            ordering=config.ordering,
            concurrency=config.concurrency,
            running=self._runners.busy,
            waiting=self._lanes.waiting,
            backing_off=self._lanes.backing_off,
            handled=tally.handled,
            failed_attempts=tally.failed_attempts,
            buried=tally.buried,
            discarded=tally.discarded,
            filtered=tally.filtered,
            already_handled=tally.already_handled,
            breaker=None if self._dispatch.breaker is None else self._dispatch.breaker.status(),
            paused=self.paused,
            speed=self._dispatch.speed,
        )

    async def _run(self, context: Context) -> None:
        """Work through what is ready; `context` is the one that this task runs in."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this coroutine only ever runs as a task
        runners, lanes, timers = self._runners, self._lanes, self._batch_timers.timers
        running, now, cancelling = runners.jobs, self._clock.now, task.cancelling
        handle, gate = self._handling(), self.gate
        turn_began, loop = now(), asyncio.get_running_loop()
        while gate.begins and (taken := lanes.next()) is not None:
            lane, jobs = taken
            running[task] = jobs
            if timers:
                self._batch_timers.cancel(lane)
            current_message.set(jobs[0].record)
            before = context.copy()
            try:
                outcome = await handle(jobs)
            except asyncio.CancelledError:
                # Cancelled at the end of a drain: the message is unfinished, and its next owner handles it.
                runners.given_up.append(jobs)
                self._give_back(lane, jobs)
                raise
            running[task] = ()
            if runners.watchers:
                runners.note_change()
            if outcome is None:
                # The feeder hears of many at once, in the next turn: telling each costs as much as a handler.
                if not self._finished:
                    loop.call_soon(self._tell_finished)
                self._finished += jobs
                self._release(lane)
            else:
                self._settle(lane, outcome)
            if context != before or cancelling():
                break  # the next message must see neither these context variables nor this cancellation
            if now() - turn_began >= TURN_SECONDS:
                await asyncio.sleep(0)
                turn_began = now()
                self._start_others_soon()
        running.pop(task, None)  # now, for until the callback of this task nobody would take its place

    def _handling(self) -> Handle:
        handle: Handle = self._dispatch.handle if self._filtering is None else self._filtering.handle
        return handle if self._dispatch.breaker is None else self._dispatch.breaker.watching(handle)

    def _tell_finished(self) -> None:
        finished, self._finished = self._finished, []
        if not finished:
            return
        try:
            self.feeder.finished(finished)
        except Exception as error:  # noqa: BLE001 - the loop that calls this would only log it
            self._fail(f"telling of {len(finished)} finished messages of", error)

    def _settle(self, lane: Lane, outcome: Outcome) -> None:
        self.feeder.finished(outcome.finished)
        # A message whose partition was revoked is not tried again here, and holds up nothing behind it.
        again = [job for job in outcome.again if not job.owned.lease.revoked]
        if not again or outcome.delay == 0 or self.gate.closed:
            self._give_back(lane, again)
            return
        if outcome.hold is not None:
            job, hold = outcome.hold
            job.owned.holds.place(job, hold)
        self._lanes.back_off(lane, again)
        if outcome.delay is not None:
            self._clock.call_later(outcome.delay, lambda: self._wake(lane))

    def _give_back(self, lane: Lane, jobs: Sequence[Job]) -> None:
        """Put unfinished jobs back at the head of their lane; a closed subscription leaves them to others."""
        if not self.gate.closed:
            self._release(lane, jobs)
            return
        self._lanes.release(lane)
        left = [job for job in jobs if not job.owned.lease.revoked]
        if left:
            self.feeder.left(left)

    def _release(self, lane: Lane, leftover: Sequence[Job] = ()) -> None:
        self._lanes.release(lane, leftover)
        if lane.state is IDLE:
            self._batch_timers.start(lane)

    def _wake(self, lane: Lane) -> None:
        self._lanes.wake(lane)
        self.start_ready()

    def _runner_ended(self, task: asyncio.Task[None]) -> None:
        self._runners.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail("a runner of", error)
        self.start_ready()
        if not self._lanes.ready:
            self.feeder.idle()

    def _fail(self, what: str, error: BaseException) -> None:
        """Report a defect of this package: nothing else comes here.

        The message it concerns stays uncommitted, and so does its partition.
        """
        self.failed = True
        reports.defect(f"{what} {self.config.id!r} failed", error, fatal=True)


def _unfed(jobs: Sequence[Job]) -> None:
    raise RuntimeError(f"a subscription finished {len(jobs)} jobs although no worker feeds it")


def _unwatched(*_: object) -> None:
    """No worker is to be told."""


def lane_key_of(config: SubscriptionConfig) -> Callable[[Job], LaneKey]:
    """Tells which jobs must keep their order: those of one lane."""
    if config.batch is not None or config.ordering == "partition":
        return by_partition
    if config.ordering == "none":
        return unordered
    return by_key_or_unordered if config.kind == "command" else by_key
