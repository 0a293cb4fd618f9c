"""Carries out one action on letters: a transaction a slice, under the id of the letters' own group.

Whatever fails in a transaction, the id is claimed anew, and then states are read and letters chosen again:
that is also all there is to going on after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from convex_messaging_fastapi.clock import Clock, sleep
from convex_messaging_fastapi.errors import ReplayFenced, TransportError
from convex_messaging_fastapi.operations.filtering import Filter
from convex_messaging_fastapi.operations.replaying.choosing import (
    Chosen,
    Ends,
    Terms,
    against,
    group_for,
    slices,
)
from convex_messaging_fastapi.operations.replaying.following import Following
from convex_messaging_fastapi.operations.replaying.jobs import Job, record_of_job
from convex_messaging_fastapi.operations.replaying.originals import original_of
from convex_messaging_fastapi.operations.replaying.pace import MOST_AT_ONCE, Pace, most_ahead, slice_size
from convex_messaging_fastapi.operations.replaying.progress import Progress
from convex_messaging_fastapi.operations.replaying.source import Known, LetterSource
from convex_messaging_fastapi.operations.replaying.writing import Address, Change, Ready, copies_of, ready
from convex_messaging_fastapi.operations.states import forgotten
from convex_messaging_fastapi.operations.values import NOT_KNOWN, Letter, LetterPlace
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import LogReader
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted, TransactionalProducer

MAX_TRIES = 5
FIRST_PAUSE_SECONDS = 0.5
LOOKS = 3
STOP_SECONDS = 5.0
WAIT_SECONDS = 0.2
MOST_FORGOTTEN = 1000
READ_AT_ONCE = 1000

TIMEOUT_SECONDS = 5.0
TIMEOUT_SECONDS_TO_TOPIC = 1.0
"""A replayer that dies amid a transaction holds up live readers of the topic for so long, and 10 s."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a replayer acts with. `new_owner` takes a transactional id and a timeout in seconds."""

    clock: Clock
    source: LetterSource
    logs: LogReader
    new_owner: Callable[[str, float], TransactionalProducer]
    dead_letters: str
    states: str


@dataclass(frozen=True, slots=True)
class Work:
    """One action: which letters, what is done with them, and where the copies of each group's go."""

    terms: Terms
    wanted: Filter
    ends: Ends
    addresses: dict[str, Address] = field(default_factory=dict)
    reason: str | None = None
    limit: int | None = None


Records = Mapping[TopicPartition, Sequence[OutgoingRecord]]


class Stopped(Exception):
    """The action ends between two slices; the text says why."""


class Replayer:
    """One action. `stop_asked` answers with a reason once the action is to end."""

    def __init__(
        self, tools: Tools, work: Work, progress: Progress, stop_asked: Callable[[], str | None]
    ) -> None:
        self._tools, self._work, self._progress = tools, work, progress
        self._stop_asked = stop_asked
        self._pace = Pace(progress.job.rate) if progress.job.rate else None
        self._alone: set[LetterPlace] = set()
        self._skipped: set[LetterPlace] = set()
        self._following: Following | None = None
        self._before: list[OutgoingRecord] = []
        self._began_at = 0.0
        self._has_forgotten = False

    async def begin(self) -> None:
        """Say that it runs, and learn at once what may not be written. Raises `NotCommitted`."""
        if not (groups := self._progress.job.groups):
            return
        self._progress.update(status="running")
        owner = self._owner(groups[0])
        try:
            await owner.claim()
            self._look_at_jobs(await self._tools.source.known(), groups[0])
            targets = (TopicPartition(topic, 0) for topic in self._progress.job.topics)
            await self._tell(owner, dict.fromkeys(targets, ()))
        finally:
            await owner.stop(self._tools.clock.now() + STOP_SECONDS)

    async def run(self) -> Job:
        """Everything, to its end, which the job that is returned tells. Raises `ReplayFenced`."""
        groups = self._progress.job.groups
        if not groups:
            self._progress.update(status="done")
        try:
            for group in groups:
                await self._group(group, is_last=group == groups[-1])
        except Stopped:
            pass  # it has said so
        except NotCommitted as failed:
            self._progress.update(status="failed", error=failed.reason)
        return self._progress.job

    async def _group(self, group: str, *, is_last: bool) -> None:
        failures, done = 0, -1
        while True:
            owner = self._owner(group)
            try:
                await owner.claim()
                await self._follow(group)
                return await self._work_through(owner, group, is_last=is_last)
            except (NotCommitted, TransportError) as error:
                failed = _as_failed(error)
                if failed.fate is not Fate.TOO_LARGE:
                    failures = failures + 1 if self._progress.job.done == done else 1
                done = self._progress.job.done
                await self._judge(failed, failures)
            finally:
                await owner.stop(self._tools.clock.now() + STOP_SECONDS)
            await sleep(self._tools.clock, FIRST_PAUSE_SECONDS * 2**failures)

    async def _work_through(self, owner: TransactionalProducer, group: str, *, is_last: bool) -> None:
        """All that is left of one group's letters, and how it ended."""
        try:
            await self._all_of(owner, group)
        except Stopped as why:
            self._progress.update(status="stopped", error=str(why))
            await self._tell(owner)
            raise
        if is_last:
            self._progress.update(status="done")
        if is_last or self._before:
            await self._tell(owner)

    async def _follow(self, group: str) -> None:
        """Whose letters do not say their group, nobody can be asked about."""
        into = group_for(group, self._work.terms)
        if self._following is not None and self._following.group == into:
            return
        self._following = None
        if self._work.terms.kind == "replay" and into != NOT_KNOWN:
            tools = self._tools
            job = self._progress.job.id
            self._following = Following(tools.logs, tools.clock, into, job, tools.dead_letters)
            await self._following.begin()

    def _owner(self, group: str) -> TransactionalProducer:
        to_topic = self._work.terms.to_topic
        timeout = TIMEOUT_SECONDS_TO_TOPIC if to_topic else TIMEOUT_SECONDS
        return self._tools.new_owner(transactional_id(self._tools.dead_letters, group), timeout)

    async def _judge(self, failed: NotCommitted, failures: int) -> None:
        """Return where the same may be tried again with a new owner."""
        if failed.fate is Fate.FENCED:
            await self._fenced(failed)
        elif failed.fate is Fate.REFUSED or failures >= MAX_TRIES:
            raise failed

    async def _fenced(self, failed: NotCommitted) -> None:
        """Another has taken over, unless it was only our own transaction that stayed open too long."""
        timeout = TIMEOUT_SECONDS_TO_TOPIC if self._work.terms.to_topic else TIMEOUT_SECONDS
        may_be_overdue = self._tools.clock.now() - self._began_at >= timeout
        # Whoever claims an id says so in the record of the job, a moment after it.
        for pause in (FIRST_PAUSE_SECONDS * 2**n for n in range(LOOKS)):
            told = (await self._tools.source.known()).jobs.get(self._progress.job.id)
            if told is not None and told.is_over:
                self._progress.update(status="stopped", error=told.error)
                raise ReplayFenced(told.error or "it was stopped elsewhere")
            if may_be_overdue:
                return
            await sleep(self._tools.clock, pause)
        self._progress.update(status="stopped", error="another operator acts on these letters")
        raise ReplayFenced("another operator acts on these letters: see what they do, and run it again")

    async def _all_of(self, owner: TransactionalProducer, group: str) -> None:
        """Everything that is left of one group's letters. Raises `NotCommitted`."""
        known = await self._tools.source.known()
        self._look_at_jobs(known, group)
        self._forget(known)
        left = self._left(await self._chosen(group))
        size = self._size()
        if self._work.terms.kind != "replay":
            for some in slices(left, size):
                await self._slice(owner, [Ready(chosen) for chosen in some])
            return
        for some in slices(left, max(size, READ_AT_ONCE)):
            found = 0
            async for letters in self._tools.source.whole(some):
                found += len(letters)
                by_place = {letter.place: letter for letter in letters}
                there = [(chosen, by_place[chosen.place]) for chosen in some if chosen.place in by_place]
                for part in self._parts(there, size):
                    await self._slice(owner, await self._ready(group, part))
            if found < len(some):
                self._progress.refuse("gone", len(some) - found)

    def _size(self) -> int:
        rate = self._progress.job.rate
        return MOST_AT_ONCE if rate is None else slice_size(rate, to_topic=self._work.terms.to_topic)

    def _forget(self, known: Known) -> None:
        """States of letters that are gone, once a job: this is what keeps the state topic small."""
        if not self._has_forgotten:
            self._before += [forgotten(place) for place in known.gone[:MOST_FORGOTTEN]]
            self._has_forgotten = True

    async def _chosen(self, group: str) -> Sequence[Chosen]:
        wanted = replace(self._work.wanted, group=group)
        choice = await self._tools.source.choose(wanted, self._work.ends)
        return choice.letters

    def _left(self, letters: Sequence[Chosen]) -> Sequence[Chosen]:
        """Those that this very job has not done yet: a filter may match them still."""
        job, limit = self._progress.job, self._work.limit
        left = [
            chosen
            for chosen in letters
            if chosen.place not in self._skipped
            and (chosen.before is None or chosen.before.changes[-1].job != job.id)
        ]
        return left if limit is None else left[: max(0, limit - job.done - sum(job.refused.values()))]

    def _look_at_jobs(self, known: Known, group: str) -> None:
        """Others that act on this group's letters have just been fenced: say so in their records."""
        job = self._progress.job
        mine = known.jobs.get(job.id)
        if mine is not None and mine.is_over:
            raise ReplayFenced(mine.error or "it was stopped elsewhere")
        told = f"taken over by {job.by} (job {job.id})"
        self._before = [
            record_of_job(replace(other, status="stopped", error=told, at=self._progress.now()))
            for other in known.jobs.values()
            if other.id != job.id and other.status == "running" and group in other.groups
        ]

    def _parts(
        self, letters: Sequence[tuple[Chosen, Letter]], size: int
    ) -> list[Sequence[tuple[Chosen, Letter]]]:
        """Slices of `size`; a letter of which one was too large goes alone."""
        parts: list[list[tuple[Chosen, Letter]]] = []
        for each in letters:
            alone = each[0].place in self._alone
            if alone or not parts or len(parts[-1]) >= size or parts[-1][0][0].place in self._alone:
                parts.append([])
            parts[-1].append(each)
        return list(parts)

    async def _slice(self, owner: TransactionalProducer, slice: Sequence[Ready]) -> None:
        if not slice:
            return
        await self._turn(owner, len(slice))
        try:
            await self._write(owner, slice)
        except NotCommitted as failed:
            if failed.fate is Fate.TOO_LARGE:
                self._too_large(slice)
            raise

    def _too_large(self, slice: Sequence[Ready]) -> None:
        places = {each.chosen.place for each in slice}
        if len(places) > 1:
            self._alone |= places
        else:
            self._skipped |= places
            self._progress.refuse("too_large")

    async def _ready(self, group: str, letters: Sequence[tuple[Chosen, Letter]]) -> list[Ready]:
        """The copies of these, without those that are left as they are."""
        terms, job, address = self._work.terms, self._progress.job, self._work.addresses[group]
        made: list[Ready] = []
        for chosen, letter in letters:
            why = against(letter, terms)
            original = None if why is not None else await original_of(letter, self._tools.logs)
            copy = original and ready(chosen, letter, original, terms, address, job.id, job.by)
            if copy is not None and not address.is_too_small_for(copy):
                made.append(copy)
                continue
            self._skipped.add(chosen.place)
            self._progress.refuse(why or ("payload_gone" if copy is None else "too_large"))
        return made

    async def _turn(self, owner: TransactionalProducer, count: int) -> None:
        """Wait until the next slice may go: outside every transaction. Raises `Stopped`."""
        clock = self._tools.clock
        while True:
            if (why := self._stop_asked()) is not None:
                raise Stopped(why)
            wait = await self._must_wait(count)
            if wait <= 0:
                return
            if self._progress.is_silent:
                await self._tell(owner)
            await sleep(clock, min(wait, WAIT_SECONDS))

    async def _must_wait(self, count: int) -> float:
        if self._pace is None:
            return 0.0
        following, now = self._following, self._tools.clock.now()
        if following is not None:
            await following.look()
            self._progress.update(failed_again=following.outlook.failed)
            if (why := following.outlook.reason_to_stop()) is not None:
                raise Stopped(why)
            if following.outlook.out + count > most_ahead(self._pace.rate):
                return WAIT_SECONDS
        return self._pace.wait(now)

    async def _write(self, owner: TransactionalProducer, slice: Sequence[Ready]) -> None:
        progress, now = self._progress, self._tools.clock.now
        self._began_at = now()
        if self._pace is not None:
            self._pace.went(len(slice), self._began_at)
        written = await owner.write(copies_of(slice))
        job = progress.job
        change = Change(job.kind, progress.now(), job.by, self._work.reason, job.id)
        states = [*self._before, *change.states(slice, written)]
        after = replace(job, done=job.done + len(slice), at=progress.now())
        if told := progress.is_due:
            states.append(record_of_job(after))
        await owner.write({self._states: states})
        await owner.commit()
        self._before = []
        progress.job = after
        if told:
            progress.told()
        if self._following is not None:
            pairs = ((where, offset) for where, offsets in written.items() for offset in offsets)
            self._following.outlook.went(pairs, now())

    async def _tell(self, owner: TransactionalProducer, beside: Records | None = None) -> None:
        """Write the job's record in a transaction of its own."""
        self._progress.update()
        self._began_at = self._tools.clock.now()
        record = record_of_job(self._progress.job)
        await owner.write({**(beside or {}), self._states: [*self._before, record]})
        await owner.commit()
        self._before = []
        self._progress.told()

    @property
    def _states(self) -> TopicPartition:
        return TopicPartition(self._tools.states, 0)


def _as_failed(error: NotCommitted | TransportError) -> NotCommitted:
    return error if isinstance(error, NotCommitted) else NotCommitted(Fate.FAILED, str(error))


def transactional_id(dead_letters: str, group: str) -> str:
    """Of the letters' own group, whatever becomes of them: so two operators on them fence each other."""
    return f"{dead_letters}/{group}"
