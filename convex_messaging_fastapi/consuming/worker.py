"""Runs one consumer of one group: fetch, enter in the ledger, hand out; at the end drain and commit.

The worker hands a record out and learns when it is finished. The subscriptions do everything in
between; the transport hides everything about the cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from convex_messaging_fastapi.clock import Clock, time_limit
from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition, by_ownership
from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.commit_retries import FailingCommits
from convex_messaging_fastapi.consuming.commits import Committer
from convex_messaging_fastapi.consuming.current_assignment import CurrentAssignment
from convex_messaging_fastapi.consuming.flow_control import FlowControl, Want
from convex_messaging_fastapi.consuming.handing_out import hand_out
from convex_messaging_fastapi.consuming.holds import Hold
from convex_messaging_fastapi.consuming.loops import Loop, Loops, Phase
from convex_messaging_fastapi.consuming.replays import Replays
from convex_messaging_fastapi.consuming.routes import Routes
from convex_messaging_fastapi.consuming.subscription import Feeder, Subscription
from convex_messaging_fastapi.consuming.unreadable import UnreadableBatches
from convex_messaging_fastapi.events import Polled
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import ConsumerTransport, Fetched, Position

LAST_COMMIT_SECONDS = 3.0
"""Seconds for the last commit after a drain that used all its time; see `rebalance_timeout_ms`."""

FEW_TOLD, MOST_TOLD = 5, 20
"""How many given-up messages of one handler get a log line each: few where partitions were lost."""

CANCELLATION_SECONDS = 0.5
"""How long a cancelled handler may take to clean up before it is left behind."""


class Worker:
    """Owns partitions for one group and runs every subscription of that group in this process."""

    def __init__(
        self,
        group: str,
        connect: Callable[[], ConsumerTransport],
        clock: Clock,
        limits: Limits,
        commit_interval: float | None,
        unreadable: UnreadableBatches | None = None,
        observers: Observers = ONLY_THE_LOG,
        replay_topic: str | None = None,
    ) -> None:
        self.routes: Routes = Routes(group, replay_topic)
        self.replays: Replays = Replays(self.routes, self._finished)
        self._connect = connect
        self._clock = clock
        self._transport = connect()
        self._unreadable = unreadable  # writes their dead letters; without it their partitions wait
        self._current = CurrentAssignment(group, clock, limits.max_uncommitted, observers)
        self._flow = FlowControl(
            clock, limits, lambda: self._current.now, lambda: self.routes.is_short_of_work
        )
        self._committer = Committer(
            group,
            lambda: self._transport,
            lambda: self._current.now,
            clock,
            commit_interval,
            limits.max_uncommitted // 2,
            self._flow.note_room,
            observers,
        )
        fetch: Loop = partial(self._fetch, observers.polled)
        loops = {f"convex-fetch {group}": fetch, f"convex-commit {group}": self._committer.run}
        self._loops = Loops(loops)
        self._changes = asyncio.Lock()
        self._one_end_at_a_time = asyncio.Lock()

    # -- declared from outside ---------------------------------------------------------------

    @property
    def group(self) -> str:
        return self.routes.group

    @property
    def subscriptions(self) -> Collection[Subscription]:
        return self.routes.subscriptions

    @property
    def topics(self) -> tuple[str, ...]:
        return self.routes.topics

    def has(self, id: str) -> bool:
        return self.routes.has(id)

    def add(self, subscription: Subscription) -> None:
        """Give a subscription every record that is handed out from now on."""
        left = partial(self._left, subscription)
        subscription.feeder = Feeder(self._finished, left, self._flow.note_idle, self.hold, self.lift)
        self.routes.add(subscription)
        if (pause := subscription.paused) is not None:
            subscription.pause(pause)  # it may have been told so by then, or in another worker

    def hold_back(self) -> None:
        """Fetch nothing yet; the member joins its group all the same."""
        self._flow.is_shut = True

    def go_on(self) -> None:
        """End what `hold_back` has begun. Harmless otherwise."""
        if self._flow.is_shut:
            self._flow.is_shut = False
            self._flow.stop_waiting()

    def hold(self, topic: str, owner: Hashable, hold: Hold) -> None:
        """Fetch nothing of a topic, in this assignment and in all that follow; see `Holds`."""
        self._current.holds_of(topic).place(owner, hold)

    def lift(self, topic: str, owner: Hashable) -> None:
        """End what `hold` has begun for this owner."""
        self._current.holds_of(topic).lift((owner,))
        self._flow.note_room()

    async def start(self) -> None:
        """Begin to join the group. Returns at once; the cluster may be away."""
        self._loops.phase = Phase.AT_WORK
        await self._transport.start(self.topics, self, self.routes.optional_topics)
        self._loops.start()

    async def attach(self, subscription: Subscription, drain_seconds: float) -> None:
        """Add a subscription while running; a topic that is new here rebuilds the consumer."""
        async with self._changes:
            known = set(self.topics)
            self.add(subscription)
            if not known.issuperset(subscription.config.topics):
                await self._rebuild(drain_seconds)

    async def detach(self, id: str, drain_seconds: float) -> None:
        """Remove a subscription: its running handlers finish, its waiting messages are dropped."""
        async with self._changes:
            subscription = self.routes.remove(id)
            # Dropped first: what only waits must not hold up the other handlers of its topic.
            for owned in self.partitions:
                self._left(subscription, subscription.drop(owned))
            held = list(self.partitions)
            await drain(subscription, held, self._clock.now() + drain_seconds, self._clock)
            subscription.report_given_up(held, drain_seconds, MOST_TOLD)
            self.routes.forget_leaving()
            if self.subscriptions and not set(subscription.config.topics) <= set(self.topics):
                await self._rebuild(drain_seconds)

    async def stop(self, drain_seconds: float, deadline: float) -> None:
        """Fetch no more, let handlers finish, commit, leave the group. Ends by `deadline`.

        A change under way does not delay it: the change starts nothing new, and waits no longer than
        this stop allows. A worker that was stopped cannot be started again.
        """
        self._loops.phase = Phase.ENDED
        self._flow.stop_waiting()
        drained_by = min(self._clock.now() + drain_seconds, deadline)
        hurry = self._clock.call_later(drained_by - self._clock.now(), self._cancel_handlers)
        try:
            await self._give_up(drained_by, deadline)
            async with self._no_change_under_way(drained_by + CANCELLATION_SECONDS):
                await self._leave(deadline)
        finally:
            hurry.cancel()

    async def abort(self, deadline: float) -> None:
        """Finish a stop that was cut short, without drain or commit. After a whole stop it does nothing.

        Ends by `deadline`, unless a task of ours ignores its cancellation.
        """
        self._loops.phase = Phase.ENDED
        self._current.now.lease.revoked = True
        await self._end_dead_letters()
        await self._loops.stop()
        await self._transport.stop(deadline)

    @property
    def alive(self) -> bool:
        """False once a task that must run has ended by itself."""
        failed = self._loops.have_failed or any(subscription.failed for subscription in self.begun)
        failed = failed or (self._unreadable is not None and self._unreadable.failed)
        return not failed and self._transport.contact().alive

    @property
    def current(self) -> CurrentAssignment:
        return self._current

    @property
    def limits(self) -> Limits:
        return self._flow.limits

    @property
    def transport(self) -> ConsumerTransport:
        return self._transport

    @property
    def failing_commits(self) -> Mapping[TopicPartition, FailingCommits]:
        """Partitions whose commits go on failing."""
        return self._committer.failing

    @property
    def partitions(self) -> Collection[OwnedPartition]:
        return self._current.partitions

    # -- called by the transport -------------------------------------------------------------

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        self._current.begin(epoch, positions)
        self._committer.note_assigned()

    async def revoked(self, epoch: int, deadline: float) -> None:
        if epoch != self._current.now.epoch:
            return
        self._current.note_revoked()
        lost = self._clock.now() >= deadline
        await self._give_up_assignment(deadline, None if lost else deadline + LAST_COMMIT_SECONDS)
        self._current.end()
        self._flow.stop_waiting()  # the next assignment is learnt of by fetching

    # -- at work -----------------------------------------------------------------------------

    @property
    def _takes_in(self) -> bool:
        return self._loops.phase is Phase.AT_WORK

    async def _fetch(self, tell: Callable[[Polled], None] | None) -> None:
        while True:
            want = await self._next_want()
            assignment, began = self._current.now, self._clock.now()
            fetched = await self._transport.fetch(want, self._flow.wait_seconds(want))
            if tell is not None and fetched.records:
                counts = {where: len(records) for where, records in fetched.records.items()}
                tell(Polled(self.group, counts, self._clock.now() - began))
            self._take(fetched)
            # Let handlers run first: a transport that has records at hand may not have waited at all.
            await asyncio.sleep(0)
            self._flow.note_fetched(assignment, want, fetched.records)
            self._committer.note_spans(self.partitions)

    async def _next_want(self) -> Want:
        want = self._flow.worth_a_fetch(self._wanted())
        if want or not self.partitions or not self._takes_in:
            return want
        await self._flow.wait_for_room()
        return self._wanted()

    def _wanted(self) -> Want:
        if not self._takes_in:
            return {}
        want = self._flow.wanted()
        if self.routes.has_batches:
            for owned in self.partitions:
                if owned.topic_partition not in want:
                    self._close_batches_of(owned)
        return want

    def _close_batches_of(self, owned: OwnedPartition) -> None:
        """No more records of this partition can come, so its batches cannot grow any further."""
        for subscription in self.routes.by_topic.get(owned.topic_partition.topic, ()):
            subscription.close_batches_of(owned)

    def _take(self, fetched: Fetched) -> None:
        assignment = self._current.now
        if fetched.epoch != assignment.epoch or not self._takes_in or assignment.lease.revoked:
            return  # not handed out, so not committed: the next owner fetches them again
        # Without a topic whose last handler is leaving: a record that no handler gets must not be committed.
        by_topic, touched, now = self.routes.by_topic, set[Subscription](), self._clock.now()
        for where, records in fetched.records.items():
            if where.topic in by_topic:
                owned, subscriptions = assignment.partitions[where], by_topic[where.topic]
                if where.topic == self.routes.replay_topic:
                    self.replays.hand_out(records, owned)
                else:
                    self.routes.unhandled.note(hand_out(records, owned, subscriptions))
                owned.note_batch(now)
                owned.end = fetched.ends.get(where, owned.end)
                touched.update(subscriptions)
        for where, position in fetched.positions.items():
            if where.topic in by_topic:
                assignment.partitions[where].ledger.advance(position)
        for subscription in touched:
            subscription.start_ready()
        if self._unreadable is not None:
            self._unreadable.look(fetched.unreadable, by_topic, assignment, self._transport)

    def _finished(self, jobs: Sequence[Job]) -> None:
        """A subscription has finished these jobs."""
        freed, is_one_empty = 0, False
        for owned, group in by_ownership(jobs):
            some = list(group)
            owned.holds.lift(some)
            ledger = owned.ledger
            freed += ledger.finish_all([job.offset for job in some], [job.size for job in some])
            is_one_empty = is_one_empty or not ledger.unfinished
            if ledger.finished_since_commit >= self._committer.due_at:
                self._committer.make_due()
        self._flow.note_freed(freed, is_one_empty)

    def _left(self, gone: Subscription, jobs: Sequence[Job]) -> None:
        """A removed subscription will never finish these jobs; other handlers of their topic may."""
        read = [job for job in jobs if self.routes.by_topic.get(job.owned.topic_partition.topic)]
        self._finished(self.replays.take_back(read, gone.config.id))

    # -- coming to an end --------------------------------------------------------------------

    async def _give_up_assignment(self, deadline: float, commit_by: float | None) -> None:
        """Drop what waits, let handlers finish until the deadline, cancel the rest, commit.

        A stop during a revocation waits for it, and then finds nothing left to do.
        """
        async with self._one_end_at_a_time:
            assignment = self._current.now
            if assignment.lease.revoked:
                return
            assignment.lease.revoked = True
            await self._end_dead_letters()
            owned = list(assignment.partitions.values())
            busy, lost = self.begun, commit_by is None
            seconds, at_work = deadline - self._clock.now(), sum(len(each.at_work) for each in busy)
            self._current.tell_given_up(at_work, is_lost=lost)
            for subscription in busy:
                for partition in owned:
                    subscription.drop(partition)
            await asyncio.gather(*[drain(each, owned, deadline, self._clock) for each in busy])
            for each in busy:
                each.report_given_up(owned, seconds, FEW_TOLD if lost else MOST_TOLD)
            if commit_by is not None:
                await self._committer.commit_at_last(commit_by)

    async def _end_dead_letters(self) -> None:
        if self._unreadable is not None:
            await self._unreadable.end()

    async def _give_up(self, drained_by: float, deadline: float) -> None:
        # Of the time after the drain two thirds are for the commit, and one third is for leaving.
        await self._give_up_assignment(drained_by, drained_by + (deadline - drained_by) * 2 / 3)

    async def _leave(self, deadline: float) -> None:
        if await self._loops.stop():
            await self._transport.stop(deadline)
            self._current.end()

    async def _rebuild(self, drain_seconds: float) -> None:
        """Leave the group and join it again: the engine's subscription must not change while it runs."""
        if not self._loops.are_running or self._has_ended:
            return
        now = self._clock.now()
        self._current.note_revoked()
        self._loops.phase = Phase.CHANGING
        self._flow.stop_waiting()
        deadline = now + drain_seconds + 2 * LAST_COMMIT_SECONDS
        await self._give_up(now + drain_seconds, deadline)
        if self._has_ended:
            return  # a stop waits for this change, and leaves the group itself
        await self._leave(deadline)
        if self._has_ended:
            return
        self._transport = self._connect()
        await self.start()

    @asynccontextmanager
    async def _no_change_under_way(self, deadline: float) -> AsyncIterator[None]:
        """Wait for the change that is under way, though not past `deadline`."""
        async with AsyncExitStack() as stack:
            with suppress(TimeoutError):
                async with time_limit(self._clock, max(0.0, deadline - self._clock.now())):
                    await stack.enter_async_context(self._changes)
            yield

    def _cancel_handlers(self) -> None:
        for subscription in self.begun:
            subscription.cancel(self.partitions)

    @property
    def begun(self) -> tuple[Subscription, ...]:
        """All that may have a handler at work."""
        return self.routes.begun

    @property
    def _has_ended(self) -> bool:
        return self._loops.phase is Phase.ENDED


async def drain(
    subscription: Subscription, owned: Collection[OwnedPartition], deadline: float, clock: Clock
) -> None:
    """Let running handlers finish until the deadline, then cancel them."""
    if not await subscription.quiesced(owned, deadline):
        subscription.cancel(owned)
        await subscription.quiesced(owned, clock.now() + CANCELLATION_SECONDS)
