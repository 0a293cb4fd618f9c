"""Begins actions on letters, holds those under way, and ends them with the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from convex_messaging_fastapi.clock import settled_within
from convex_messaging_fastapi.errors import (
    ConfigurationError,
    ReplayFenced,
    ReplayRefused,
    TransportError,
)
from convex_messaging_fastapi.naming import Naming
from convex_messaging_fastapi.operations.filtering import Filter
from convex_messaging_fastapi.operations.replaying.choosing import MAX_REPLAYS, Terms, group_for
from convex_messaging_fastapi.operations.replaying.jobs import Job, as_seen, record_of_job
from convex_messaging_fastapi.operations.replaying.plain import WithoutTransactions
from convex_messaging_fastapi.operations.replaying.planning import HandlersHere, Plan, Planner
from convex_messaging_fastapi.operations.replaying.progress import Progress, new_job
from convex_messaging_fastapi.operations.replaying.replayer import (
    STOP_SECONDS,
    TIMEOUT_SECONDS,
    Replayer,
    Tools,
    Work,
    transactional_id,
)
from convex_messaging_fastapi.operations.replaying.source import LetterSource
from convex_messaging_fastapi.operations.replaying.targets import Targets, To
from convex_messaging_fastapi.operations.replaying.topics import ReplayTopics
from convex_messaging_fastapi.operations.replaying.writing import Address
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.publishing import Partitioner
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted, TransactionalProducer


class Asked(NamedTuple):
    """How a replay is to be done; what each means is said at `Operations.replay`."""

    by: str
    rate: float = 50.0
    limit: int | None = None
    to: To = "handler"
    handler: str | None = None
    into: str | None = None
    max_replays: int = MAX_REPLAYS
    allow_topics: Collection[str] = ()
    anyway: bool = False
    without_transaction: bool = False
    expected: int | None = None
    dry_run: bool = True


@dataclass(slots=True)
class Running:
    """An action of this process."""

    progress: Progress
    stop_reason: str | None = None
    task: asyncio.Task[Job] | None = field(default=None)


class Actions:
    """Everything here may be called from several tasks at once; two actions on one group fence each other."""

    def __init__(
        self,
        parts: Parts,
        source: LetterSource,
        handlers_here: HandlersHere,
        dead_letter_topics: Collection[str] = (),
    ) -> None:
        self._parts, self._source = parts, source
        self._logs = parts.transport.log_reader()
        self._topics = ReplayTopics(parts, self._logs)
        self._planner = Planner(source, parts.transport.groups(), self._logs, self._targets, handlers_here)
        self._dead_letter_topics = dead_letter_topics
        self._running: dict[str, Running] = {}

    async def replay(self, wanted: Filter, asked: Asked) -> Job:
        """See `Operations.replay`."""
        if not asked.rate > 0:
            raise ConfigurationError(f"rate is letters a second, more than 0, not {asked.rate!r}")
        terms = Terms("replay", asked.to == "topic", asked.handler, asked.into, asked.max_replays)
        planner = replace(self._planner, targets=partial(self._targets, allowed=asked.allow_topics))
        plan = await planner.plan(wanted, terms, limit=asked.limit, anyway=asked.anyway)
        job = self._planned(plan, terms, wanted, asked.by, asked.rate)
        if asked.dry_run or not plan.selected:
            return job
        _no_more_than(asked.expected, plan.selected)
        await self._topics.ensure(plan, anyway=asked.anyway)
        work = Work(terms, wanted, plan.ends, await self._addresses(plan, terms), limit=asked.limit)
        return await self._begin(work, job, without_transaction=asked.without_transaction)

    async def discard(
        self,
        wanted: Filter,
        *,
        by: str,
        reason: str,
        expected: int | None = None,
        dry_run: bool = True,
        without_transaction: bool = False,
    ) -> Job:
        """See `Operations.discard`."""
        return await self._change(
            Terms("discard"), wanted, by, reason, expected, dry_run=dry_run, plainly=without_transaction
        )

    async def reopen(self, ids: Sequence[str], *, by: str, without_transaction: bool = False) -> Job:
        """See `Operations.reopen`."""
        wanted = Filter(ids=tuple(ids), state="all")
        return await self._change(
            Terms("reopen"), wanted, by, None, None, dry_run=False, plainly=without_transaction
        )

    async def jobs(self) -> tuple[Job, ...]:
        """Every job that the state topic remembers, newest first, as anybody sees it now."""
        known = {**(await self._source.known()).jobs}
        known |= {id: running.progress.job for id, running in self._running.items()}
        now = Progress(self._parts.clock, next(iter(known.values()))).now() if known else None
        seen = [as_seen(job, now) for job in known.values()] if now is not None else []
        return tuple(sorted(seen, key=lambda job: job.started_at, reverse=True))

    async def wait_for(self, id: str) -> Job:
        """Return once a job of this process is over. Raises `ReplayFenced`, and `LookupError` for others."""
        running = self._running[id]
        if running.task is None:
            return running.progress.job
        return await asyncio.shield(running.task)

    def job(self, id: str) -> Job | None:
        """A job of this process, as far as it has come; `None` for others."""
        running = self._running.get(id)
        return None if running is None else running.progress.job

    async def stop_job(self, id: str, *, by: str) -> Job:
        """End a job, wherever it runs, within one slice: whoever runs it is fenced. Raises `LookupError`."""
        if (running := self._running.get(id)) is not None and not running.progress.job.is_over:
            running.stop_reason = f"stopped by {by}"
            return await self.wait_for(id)
        return await self._stop_elsewhere(id, by)

    async def stop(self, seconds: float) -> None:
        """End every job of this process between two slices, or after so many seconds wherever it is."""
        for running in self._running.values():
            running.stop_reason = running.stop_reason or "the bus was stopped"
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if not tasks:
            return
        ending = asyncio.ensure_future(asyncio.wait(tasks))
        if not await settled_within(self._parts.clock, ending, seconds):
            for task in tasks:
                task.cancel()
        await ending

    async def _change(
        self,
        terms: Terms,
        wanted: Filter,
        by: str,
        reason: str | None,
        expected: int | None,
        *,
        dry_run: bool,
        plainly: bool,
    ) -> Job:
        """Of states alone; it takes no longer than reading the letters did."""
        plan = await self._planner.plan(wanted, terms, limit=None, anyway=True)
        job = self._planned(plan, terms, wanted, by, None)
        if dry_run or not plan.selected:
            return job
        _no_more_than(expected, plan.selected)
        await self._topics.ensure_states()
        begun = await self._begin(
            Work(terms, wanted, plan.ends, reason=reason), job, without_transaction=plainly
        )
        return await self.wait_for(begun.id)

    def _planned(self, plan: Plan, terms: Terms, wanted: Filter, by: str, rate: float | None) -> Job:
        return new_job(
            self._parts.clock,
            terms,
            by=by,
            filter=_told(wanted),
            rate=rate,
            topics=plan.targets,
            groups=tuple(plan.letters),
            seen_by=plan.seen_by,
            selected=plan.selected,
            refused=dict(plan.refused),
            notes=tuple(plan.notes),
        )

    async def _begin(self, work: Work, job: Job, *, without_transaction: bool) -> Job:
        """Raises `ReplayRefused` where something may not be written."""
        # What the dry run counted is counted again as each letter's turn comes.
        progress = Progress(self._parts.clock, replace(job, refused={}))
        running = Running(progress)
        tools = self._tools(without_transaction=without_transaction)
        replayer = Replayer(tools, work, progress, lambda: running.stop_reason)
        try:
            await replayer.begin()
        except NotCommitted as failed:
            raise _refusal(failed, self._parts.naming) from failed
        self._running[job.id] = running
        running.task = asyncio.get_running_loop().create_task(replayer.run(), name=f"convex-replay-{job.id}")
        running.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return progress.job

    def _tools(self, *, without_transaction: bool = False) -> Tools:
        parts = self._parts
        return Tools(
            parts.clock,
            self._source,
            self._logs,
            self._plainly if without_transaction else parts.transport.transactional,
            parts.naming.dead_letters,
            parts.naming.dead_letter_states,
        )

    def _plainly(self, id: str, timeout_seconds: float) -> TransactionalProducer:
        return WithoutTransactions(self._parts.transport.producer())

    def _targets(self, groups: Collection[str], allowed: Collection[str] = ()) -> Targets:
        naming = self._parts.naming
        return Targets(naming, self._parts.settings.topic_prefix, groups, self._dead_letter_topics, allowed)

    async def _addresses(self, plan: Plan, terms: Terms) -> dict[str, Address]:
        partitioner = Partitioner(self._parts.settings.partitioner)
        counts = {topic: len(await self._logs.ranges(topic)) for topic in plan.targets}
        limits = {topic: await self._parts.admin.largest_message(topic) for topic in plan.targets}
        largest = {topic: limit for topic, limit in limits.items() if limit is not None}
        return {
            group: Address(group_for(group, terms), plan.topics.get(group), counts, partitioner, largest)
            for group in plan.letters
        }

    async def _stop_elsewhere(self, id: str, by: str) -> Job:
        """Claim its ids, which fences whoever owns them, and say so in its record."""
        job = await self._job_of(id)
        owners: list[TransactionalProducer] = []
        try:
            for group in job.groups if job.status == "running" else ():
                owner = self._parts.transport.transactional(
                    transactional_id(self._parts.naming.dead_letters, group), TIMEOUT_SECONDS
                )
                owners.append(owner)
                await owner.claim()
            job = await self._job_of(id)  # it may have ended meanwhile
            if owners and job.status == "running":
                progress = Progress(self._parts.clock, job)
                progress.update(status="stopped", error=f"stopped by {by}")
                job = progress.job
                states = TopicPartition(self._parts.naming.dead_letter_states, 0)
                await owners[-1].write({states: [record_of_job(job)]})
                await owners[-1].commit()
        except NotCommitted as failed:
            raise _refusal(failed, self._parts.naming) from failed
        finally:
            for owner in owners:
                await owner.stop(self._parts.clock.now() + STOP_SECONDS)
        return job

    async def _job_of(self, id: str) -> Job:
        jobs = (await self._source.known()).jobs
        if id not in jobs:
            raise LookupError(f"there is no job {id!r}: see jobs")
        return jobs[id]


def _refusal(failed: NotCommitted, naming: Naming) -> Exception:
    if failed.fate is Fate.FENCED:
        return ReplayFenced("another operator acts on these letters: see what they do, and run it again")
    if failed.fate is not Fate.REFUSED:
        return TransportError(failed.reason)
    if naming.dead_letter_states in failed.reason:
        return ReplayRefused("states_unwritable", failed.reason)
    is_id = "transactional id" in failed.reason
    return ReplayRefused("no_transactions" if is_id else "target_unwritable", failed.reason)


def _no_more_than(expected: int | None, selected: int) -> None:
    if expected is not None and selected > expected:
        raise ReplayRefused(
            "more_than_shown", f"{selected} letters match by now, and {expected} were shown: look again"
        )


def _told(wanted: Filter) -> dict[str, Any]:
    """The fields of a filter that say something."""
    default = asdict(Filter())
    return {name: value for name, value in asdict(wanted).items() if value != default[name]}
