"""One member of one group over aiokafka: fetches lose no record, and no commit is stored late."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from aiokafka.errors import KafkaError

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import (
    AssignmentListener,
    CommitOutcome,
    Contact,
    Fetched,
    Position,
    Problem,
    Unreadable,
)
from convex_messaging_fastapi.transport.kafka.consumer.instance_id import InstanceId
from convex_messaging_fastapi.transport.kafka.consumer.membership import Membership
from convex_messaging_fastapi.transport.kafka.consumer.reading import Reading
from convex_messaging_fastapi.transport.kafka.consumer.terms import Terms
from convex_messaging_fastapi.transport.kafka.engine import Member
from convex_messaging_fastapi.transport.kafka.offsets import (
    Course,
    EngineListener,
    History,
    Holding,
    Moves,
    OffsetLookup,
    Ownership,
    Storing,
    targets,
)
from convex_messaging_fastapi.transport.kafka.recovery import (
    Complaints,
    Explanation,
    MissingTopics,
    Supervisor,
)
from convex_messaging_fastapi.transport.kafka.tuning import Tuning


class KafkaConsumer:
    """Implements `ConsumerTransport`."""

    def __init__(
        self,
        terms: Terms,
        clock: Clock,
        tuning: Tuning,
        history: History,
        instance: InstanceId,
        supervisor: Supervisor[Member],
    ) -> None:
        self._clock, self._tuning, self._history, self._instance = clock, tuning, history, instance
        self._supervisor = supervisor
        self._ownership = Ownership(clock, terms.drain_seconds)
        self._lookup = OffsetLookup(terms.group, clock, tuning, history, terms.reset_policy)
        self._complaints = Complaints(terms.group, clock, tuning)
        self._storing = Storing(terms.group, clock, history)
        self._membership = Membership(
            terms,
            tuning,
            instance,
            supervisor,
            self._ownership,
            self._complaints,
            MissingTopics(
                terms.group,
                clock,
                are_made=terms.topics_are_made,
                patience_seconds=tuning.missing_seconds,
            ),
        )
        self._reading: Reading | None = None
        self._hearer: EngineListener | None = None

    async def start(
        self, topics: Iterable[str], listener: AssignmentListener, optional: Iterable[str] = ()
    ) -> None:
        needed = tuple(topics)
        others = frozenset(optional).difference(needed)
        self._membership.topics = needed
        self._membership.optional = self._complaints.optional = self._lookup.from_begin = others
        self._ownership.listen(listener)
        self._supervisor.start(self)

    async def stop(self, deadline: float) -> None:
        self._ownership.stop()
        self._forget()
        await self._supervisor.stop(deadline)
        self._instance.release()

    def contact(self) -> Contact:
        return replace(
            self._membership.contact(),
            losses=self._history.losses,
            lost=self._history.lost,
            refusals=dict(self._storing.words),
        )

    async def commit(
        self, epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
    ) -> Mapping[TopicPartition, CommitOutcome]:
        holding = self._ownership.holding
        if holding is None or holding.epoch != epoch or holding.over:
            return dict.fromkeys(offsets, CommitOutcome.STALE)
        doubtful = set[str]() if self._reading is None else self._reading.course.in_doubt
        return await self._storing.commit(holding, offsets, doubtful, deadline)

    async def ends(self, wanted: Collection[TopicPartition]) -> Mapping[TopicPartition, int] | None:
        if (member := self._supervisor.current) is None:
            return None
        try:
            for topic in member.missing({where.topic for where in wanted}):
                await member.follow(topic)
            # The engine would wait for a leader, and the others with it.
            known = [where for where in wanted if member.is_led(where)]
            return await member.ends(known, last=True) if known else {}
        except KafkaError as error:
            raise TransportError(f"the ends of logs cannot be asked for: {error!r}") from error
        except asyncio.CancelledError:
            # An engine that ends cancels what waits for its answers, which is no end of the one who asked.
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise TransportError("the ends of logs cannot be asked for: the connection ended") from None

    async def fetch(self, wanted: Mapping[TopicPartition, int], wait: float) -> Fetched:
        until = self._clock.now() + wait
        while True:
            reading = await self._open_reading(until)
            if reading is None:
                return Fetched(self._ownership.epoch, {}, {})
            positions, another_log = reading.finish_moves()
            if another_log is not None:
                await self._begin_anew(reading.holding, another_log)
                continue
            fetched = await reading.take(wanted, positions)
            if fetched.records or fetched.positions or self._clock.now() >= until:
                self._watch_progress(reading, wanted)
                return fetched
            await self._news(reading.holding, until)

    def pass_over(self, epoch: int, where: TopicPartition, batch: Unreadable) -> None:
        if epoch == self._ownership.epoch:
            self._complaints.tries.pass_over(where, batch)
            self._wake(None)

    # What the supervisor calls.

    def started(self, member: Member) -> None:
        """A new engine runs: let it join the group."""
        self._hearer = EngineListener(self._ownership, member, self._taken)
        member.subscribe(self._membership.topics, self._hearer, optional=self._membership.optional)

    async def lost(self, member: Member) -> None:
        """The engine is broken, and what it held is lost."""
        if self._hearer is not None:
            self._hearer.gone = True
        self._forget()
        await self._ownership.release(lost=True)

    # From an assignment to its end.

    def _taken(self, holding: Holding) -> None:
        self._forget()
        course = Course(holding, self._lookup, self._history, self._wake)
        self._reading = Reading(holding, course, self._complaints, self._clock, self._tuning)
        course.begin()

    async def _open_reading(self, until: float) -> Reading | None:
        """The reading of the assignment that is open; waits for one until then."""
        while True:
            self._membership.look()
            await self._mind_the_session()
            reading = self._reading
            if reading is not None and reading.holding is self._ownership.holding and self._opened(reading):
                return reading
            if self._clock.now() >= until:
                return None
            await self._change(until)

    def _opened(self, reading: Reading) -> bool:
        """Open the gate if the start positions are known."""
        if reading.holding.is_pending and (positions := reading.course.start()) is not None:
            self._ownership.announce(reading.holding, positions)
        return reading.holding.open

    async def _mind_the_session(self) -> None:
        """Let go of what is held once the group has not heard from us for a session."""
        holding = self._ownership.holding
        if holding is None or holding.closing or not self._membership.rejoin_if_out_of_touch(holding):
            return
        self._forget()
        await self._ownership.release(lost=True)

    async def _begin_anew(self, holding: Holding, found: Moves) -> None:
        """Go back by a new assignment, because the offsets of one assignment only grow."""
        self._forget()
        released = await self._ownership.release(lost=False)
        if released is not holding or not holding.member.delivering:
            return  # A rebalance came first, and a new assignment with it.
        again = self._ownership.take(holding.member, holding.partitions, targets(found))
        if again is not None:
            self._taken(again)

    def _forget(self) -> None:
        """Drop what belongs to an assignment that is over."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None
        self._storing.forget()

    def _watch_progress(self, reading: Reading, wanted: Mapping[TopicPartition, int]) -> None:
        said = reading.stuck(wanted)
        if said is not None and self._supervisor.contact(member=True).problem is None:
            self._supervisor.replace(reading.holding.member, Explanation(Problem.ENGINE_FAILED, said))

    # Waiting.

    async def _news(self, holding: Holding, until: float) -> None:
        """Wait until something was fetched, or the assignment changes."""
        news = holding.member.news()
        news.add_done_callback(self._wake)
        try:
            await self._change(until)
        finally:
            # Dropping the news must not count as news, or the next wait would end at once, for ever.
            news.remove_done_callback(self._wake)
            holding.member.no_more_news(news)

    async def _change(self, until: float) -> None:
        """Wait until something about the assignment may have changed."""
        changed = self._ownership.changed
        changed.clear()
        timer = self._clock.call_later(until - self._clock.now(), changed.set)
        try:
            await changed.wait()
        finally:
            timer.cancel()

    def _wake(self, _: object) -> None:
        self._ownership.changed.set()
