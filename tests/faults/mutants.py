"""Ways to make this package wrong, each where it decides; tests that do not notice prove nothing.

As a pytest plugin (`-p tests.faults.mutants`) it applies the one that `MUTANT` names to the whole
run. The app of these tests does so too, for runs on a real Kafka.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import pytest

from convex_messaging_fastapi.consuming import commits, replays, subscription, worker
from convex_messaging_fastapi.consuming.assignment import Assignment, Job, OwnedPartition
from convex_messaging_fastapi.consuming.breaking import CircuitBreaker
from convex_messaging_fastapi.consuming.commits import Committer
from convex_messaging_fastapi.consuming.dispatch import Dispatch
from convex_messaging_fastapi.consuming.endings import BuryEnding
from convex_messaging_fastapi.consuming.handing_out import jobs_for
from convex_messaging_fastapi.consuming.lanes import unordered
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.consuming.offset_metadata import Range
from convex_messaging_fastapi.consuming.outcome import Outcome
from convex_messaging_fastapi.consuming.replays import Replays
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.errors import PublishError, TransportError
from convex_messaging_fastapi.messages.copies import read_copy
from convex_messaging_fastapi.operations.found import Found
from convex_messaging_fastapi.operations.replaying.replayer import Replayer
from convex_messaging_fastapi.operations.replaying.writing import Change, Ready, copies_of
from convex_messaging_fastapi.operations.states import Kept
from convex_messaging_fastapi.plugin import health
from convex_messaging_fastapi.publishing.batches import PartitionQueue
from convex_messaging_fastapi.publishing.pending import Batch
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.status import BusStatus
from convex_messaging_fastapi.transport.base import CommitOutcome, Fetched, Position, Sent
from convex_messaging_fastapi.transport.kafka.consumer.reading import Reading
from convex_messaging_fastapi.transport.kafka.engine.connections.client import Connection
from convex_messaging_fastapi.transport.kafka.engine.groups import ghosts
from convex_messaging_fastapi.transport.kafka.offsets import storing
from convex_messaging_fastapi.transport.kafka.offsets.lookup import OffsetLookup
from convex_messaging_fastapi.transport.kafka.recovery.complaints import Complaints
from convex_messaging_fastapi.transport.memory import consumer as memory
from convex_messaging_fastapi.transport.memory import groups
from convex_messaging_fastapi.transport.transactional import TransactionalProducer
from convex_messaging_fastapi.verdicts import Verdict, live

VARIABLE = "MUTANT"

SILENT_SECONDS = 4.0

_burials: set[asyncio.Task[None]] = set()


def commit_the_highest_finished_offset(patch: pytest.MonkeyPatch) -> None:
    """What a client does that acknowledges each message and keeps only the highest."""

    def highest(ledger: Ledger, now_ms: int) -> Position:
        finished = max(ledger._finished, default=-1) + 1
        return Position(max(ledger.committable, finished))

    patch.setattr(commits, "position_of", highest)


def commit_positions_on_a_timer(patch: pytest.MonkeyPatch) -> None:
    """What Kafka's clients call auto-commit: whatever was handed out counts as done."""

    def positions(
        assignment: Assignment, now_ms: int, leave_out: Collection[TopicPartition] = ()
    ) -> dict[TopicPartition, Position]:
        return {
            where: Position(owned.ledger.position)
            for where, owned in assignment.partitions.items()
            if where not in leave_out
            and (owned.ledger.has_news or owned.ledger.position > owned.ledger.committed)
        }

    patch.setattr(commits, "committable", positions)


def do_not_await_a_burial(patch: pytest.MonkeyPatch) -> None:
    """The letter is written in the background, and the message counts as finished at once."""

    async def in_the_background(ending: BuryEnding, job: Job) -> None:
        try:
            await ending._dead_letters.bury(job.record, job.cause)
        except (PublishError, TransportError):
            return  # nobody looks

    async def end(ending: BuryEnding, job: Job) -> Outcome:
        task = asyncio.create_task(in_the_background(ending, job))
        _burials.add(task)
        task.add_done_callback(_burials.discard)
        return Outcome(finished=(job,))

    patch.setattr(BuryEnding, "end", end)


def acknowledge_in_finally(patch: pytest.MonkeyPatch) -> None:
    """A message counts as finished however its handler ended, also when that was cancelled."""
    handle = Dispatch.handle

    async def handle_and_acknowledge(dispatch: Dispatch, jobs: Sequence[Job]) -> Outcome | None:
        try:
            return await handle(dispatch, jobs)
        except asyncio.CancelledError:
            return None

    patch.setattr(Dispatch, "handle", handle_and_acknowledge)


def do_not_drain_what_is_revoked(patch: pytest.MonkeyPatch) -> None:
    """Partitions are given away while their handlers are at work."""

    async def do_not_wait(*_: object) -> None: ...

    patch.setattr(worker, "drain", do_not_wait)


def commit_again_under_the_next_assignment(patch: pytest.MonkeyPatch) -> None:
    """A commit that failed is made again by whoever this member is by then, as clients do that retry."""
    commit = Committer._commit
    owed: WeakKeyDictionary[Committer, tuple[int, Mapping[TopicPartition, Position]]] = WeakKeyDictionary()

    async def commit_and_again(
        committer: Committer,
        assignment: Assignment,
        leave_out: Collection[TopicPartition],
        deadline: float,
    ) -> commits.Outcomes:
        epoch, late = owed.get(committer, (assignment.epoch, {}))
        if epoch != assignment.epoch:
            again = await committer._transport().commit(assignment.epoch, late, deadline)
            if set(again.values()) <= {CommitOutcome.COMMITTED}:
                del owed[committer]
        offsets = commits.committable(assignment, 0)
        outcomes = await commit(committer, assignment, leave_out, deadline)
        if not set(outcomes.values()) <= {CommitOutcome.COMMITTED}:
            owed[committer] = assignment.epoch, offsets
        return outcomes

    patch.setattr(Committer, "_commit", commit_and_again)


def handle_a_key_side_by_side(patch: pytest.MonkeyPatch) -> None:
    """Every record has a lane of its own, whatever its key."""
    patch.setattr(subscription, "lane_key_of", lambda config: unordered)


def use_the_ledger_of_an_earlier_assignment(patch: pytest.MonkeyPatch) -> None:
    """A partition that comes back finds the map of work that it had left behind."""
    assigned = Worker.assigned
    left: WeakKeyDictionary[Worker, dict[TopicPartition, Ledger]] = WeakKeyDictionary()

    def assigned_again(held: Worker, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        assigned(held, epoch, positions)
        ledgers = left.setdefault(held, {})
        for owned in held.partitions:
            owned.ledger = ledgers.setdefault(owned.topic_partition, owned.ledger)

    patch.setattr(Worker, "assigned", assigned_again)


def drop_what_was_taken_beside_a_failure(patch: pytest.MonkeyPatch) -> None:
    """All partitions are taken from in one go, which an error of one ends without going back."""
    take, unreadable = Reading.take, Reading._unreadable
    failed: WeakSet[Reading] = WeakSet()

    def noted(reading: Reading, where: TopicPartition, error: Exception) -> None:
        failed.add(reading)
        unreadable(reading, where, error)

    async def all_or_none(
        reading: Reading, wanted: Mapping[TopicPartition, int], positions: dict[TopicPartition, int]
    ) -> Fetched:
        fetched = await take(reading, wanted, positions)
        if reading not in failed:
            return fetched
        failed.discard(reading)
        return Fetched(fetched.epoch, {}, {})

    patch.setattr(Reading, "_unreadable", noted)
    patch.setattr(Reading, "take", all_or_none)


def tell_what_is_handed_out_as_finished(patch: pytest.MonkeyPatch) -> None:
    """The offset is right, and what goes with it tells the next owner to skip unfinished work."""

    def everything(ledger: Ledger) -> Iterator[Range]:
        if ledger.position > ledger.committable:
            yield Range(ledger.committable, ledger.position)

    patch.setattr(Ledger, "finished_above", everything)


def tie_liveness_to_the_broker(patch: pytest.MonkeyPatch) -> None:
    """A process asks for its restart because Kafka does not answer."""

    def live_with_the_broker(status: BusStatus) -> Verdict:
        parts = (*status.workers, *(() if status.producer is None else (status.producer,)))
        if any((part.contact.age_seconds or 0) > SILENT_SECONDS for part in parts):
            return Verdict(False, "down", ("broker_unreachable",))
        return live(status)

    patch.setattr(health, "live", live_with_the_broker)


def take_a_refusal_for_an_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    """Whatever the cluster answered, the publisher is told that its messages are written."""

    def acknowledge(queue: PartitionQueue, batch: Batch, sent: Sent) -> None:
        queue._acknowledge(batch, sent)

    patch.setattr(PartitionQueue, "_refuse", acknowledge)


def share_the_outcome_of_a_commit(patch: pytest.MonkeyPatch) -> None:
    """One answer for all partitions of a commit, as the engine itself gives it."""
    commit = storing.Storing.commit

    async def shared(stores: storing.Storing, *asked: Any) -> dict[TopicPartition, CommitOutcome]:
        outcomes = await commit(stores, *asked)
        bad = (outcome for outcome in outcomes.values() if outcome is not CommitOutcome.COMMITTED)
        return dict.fromkeys(outcomes, next(bad, CommitOutcome.COMMITTED))

    patch.setattr(storing.Storing, "commit", shared)


def never_forget_a_complaint(patch: pytest.MonkeyPatch) -> None:
    """What a broker said of a partition is over when somebody takes a record of it, and not before."""
    patch.setattr(Complaints, "hear_of_fetches", lambda complaints, fetches: None)


def ask_once_for_an_answer_that_is_owed(patch: pytest.MonkeyPatch) -> None:
    """In each silence; the question may be lost as well."""
    ping = Connection.ping_if_overdue

    def ping_once(connection: Connection, seconds: float) -> None:
        if connection._pinged_at <= connection._last_action:
            ping(connection, seconds)

    patch.setattr(Connection, "ping_if_overdue", ping_once)


def join_as_another_without_leaving(patch: pytest.MonkeyPatch) -> None:
    """The group goes on waiting for the member that it knows."""

    async def say_nothing(coordinator: ghosts.Coordinator) -> None: ...

    patch.setattr(ghosts.Coordinator, "_leave_as_others", say_nothing)


def give_no_attempts_back(patch: pytest.MonkeyPatch) -> None:
    """What failed in an outage before the breaker opened has so many tries less afterwards."""
    patch.setattr(CircuitBreaker, "_give_attempts_back", lambda breaker: breaker._failing.clear())


def write_states_before_copies(patch: pytest.MonkeyPatch) -> None:
    """In a transaction of its own: whoever dies after it leaves letters replayed that nobody has copied."""

    async def write(replayer: Replayer, owner: TransactionalProducer, slice: Sequence[Ready]) -> None:
        job = replayer._progress.job
        change = Change(job.kind, replayer._progress.now(), job.by, None, job.id)
        nowhere = {each.where: range(len(slice)) for each in slice if each.where is not None}
        await owner.write({replayer._states: change.states(slice, nowhere)})
        await owner.commit()
        await owner.write(copies_of(slice))
        await owner.commit()
        replayer._progress.update(done=job.done + len(slice))

    patch.setattr(Replayer, "_write", write)


def ignore_the_group_of_a_copy(patch: pytest.MonkeyPatch) -> None:
    """Groups whose replay topics have one name handle each other's copies."""
    patch.setattr(replays, "read_copy", lambda record: replace(read_copy(record), group=None))


def ignore_the_handler_of_a_copy(patch: pytest.MonkeyPatch) -> None:
    """Every handler of the group is given what failed in one."""

    def hand_out(these: Replays, records: Sequence[Record], owned: OwnedPartition) -> None:
        everybody = list(these._routes.subscriptions)
        for job in jobs_for(records, owned, len(everybody)):
            for each in everybody:
                one = Job(job.record, owned, job.size)
                one.record = read_copy(job.record).original
                each.offer(owned, (one,), is_wanted=True)

    patch.setattr(Replays, "hand_out", hand_out)


def take_the_state_of_whatever_stood_there(patch: pytest.MonkeyPatch) -> None:
    """A topic that was deleted and made anew has the states of the one before."""
    patch.setattr(Kept, "is_about", lambda kept, timestamp_ms: True)


def begin_replay_topics_where_the_policy_says(patch: pytest.MonkeyPatch) -> None:
    """With `latest`, at the end: past copies that stood there before the group knew of its topic."""
    patch.setattr(OffsetLookup, "_policy", lambda lookup, topic: lookup._reset_policy)
    patch.setattr(memory, "Member", lambda topics, terms, from_begin: groups.Member(topics, terms))


def join_no_duplicates(patch: pytest.MonkeyPatch) -> None:
    """A letter that was written twice is two, and its message is replayed twice."""
    patch.setattr(Found, "duplicates", lambda found: iter(()))


MUTANTS: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    mutant.__name__: mutant
    for mutant in (
        commit_the_highest_finished_offset,
        commit_positions_on_a_timer,
        do_not_await_a_burial,
        acknowledge_in_finally,
        do_not_drain_what_is_revoked,
        commit_again_under_the_next_assignment,
        handle_a_key_side_by_side,
        use_the_ledger_of_an_earlier_assignment,
        drop_what_was_taken_beside_a_failure,
        tell_what_is_handed_out_as_finished,
        tie_liveness_to_the_broker,
        take_a_refusal_for_an_acknowledgement,
        share_the_outcome_of_a_commit,
        never_forget_a_complaint,
        ask_once_for_an_answer_that_is_owed,
        join_as_another_without_leaving,
    )
}
"""Sixteen that the checks of a run on a real Kafka catch, and tests as well."""

OF_OPERATING: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    mutant.__name__: mutant
    for mutant in (
        give_no_attempts_back,
        write_states_before_copies,
        ignore_the_group_of_a_copy,
        ignore_the_handler_of_a_copy,
        take_the_state_of_whatever_stood_there,
        begin_replay_topics_where_the_policy_says,
        join_no_duplicates,
    )
}
"""Those that tests catch: what they spoil happens in no run of `trial.py`."""


def apply(name: str) -> None:
    """Apply it to this process, for good. Fails when the package has no such place any more."""
    {**MUTANTS, **OF_OPERATING}[name](pytest.MonkeyPatch())


def pytest_configure() -> None:
    if name := os.environ.get(VARIABLE):
        apply(name)
