"""One member of one group over aiokafka: fetches that lose nothing, commits that never come late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import (
    ENOUGH_RECORDS,
    AssignmentListener,
    CommitOutcome,
    Contact,
    Fetched,
    Loss,
    Position,
    Problem,
    Unreadable,
)
from convex_messaging_fastapi.transport.kafka.consumer.instance import Instance
from convex_messaging_fastapi.transport.kafka.consumer.progress import Progress
from convex_messaging_fastapi.transport.kafka.consumer.shares import Shares
from convex_messaging_fastapi.transport.kafka.engine import Member, span_of
from convex_messaging_fastapi.transport.kafka.offsets import (
    Asking,
    EngineListener,
    History,
    Holding,
    Move,
    Moves,
    Nobody,
    Ownership,
    Starts,
    Storing,
    passed,
    targets,
)
from convex_messaging_fastapi.transport.kafka.recovery import (
    RIVAL,
    Complaints,
    Explanation,
    MissingTopics,
    Supervisor,
    explain_no_coordinator,
    explain_unreadable,
    unreadable_batch,
)
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

EARLY_SECONDS = 0.25
"""Before the end of a session handlers are told to end; whoever fetches looks more often than this."""


class KafkaConsumer:
    """Implements `ConsumerTransport`."""

    def __init__(
        self,
        group: str,
        clock: Clock,
        tuning: Tuning,
        history: History,
        instance: Instance,
        supervisor: Supervisor[Member],
        *,
        reset_policy: str,
        drain_seconds: float,
        session_seconds: float,
        missing: MissingTopics,
    ) -> None:
        self._group, self._clock, self._tuning, self._missing = group, clock, tuning, missing
        self._history, self._instance = history, instance
        self._asking = Asking(group, clock, tuning, history, reset_policy)
        self._drain_seconds = drain_seconds
        self._ownership = Ownership(clock, drain_seconds, Nobody())
        self._session_seconds = session_seconds - EARLY_SECONDS
        self._supervisor = supervisor
        self._topics: tuple[str, ...] = ()
        self._opening: asyncio.Task[Starts] | None = None
        self._moving: dict[TopicPartition, asyncio.Task[Moves]] = {}
        self._shares = Shares()
        self._storing = Storing(group, clock, history)
        self._complaints = Complaints(group, clock, tuning)
        self._progress = Progress(tuning.stuck_after_seconds)
        self._look_at = 0.0
        self._hearer: EngineListener | None = None

    async def start(self, topics: Iterable[str], listener: AssignmentListener) -> None:
        self._topics = tuple(topics)
        self._ownership = Ownership(self._clock, self._drain_seconds, listener)
        self._supervisor.start(self)

    async def stop(self, deadline: float) -> None:
        self._ownership.stop()
        self._forget()
        await self._supervisor.stop(deadline)
        self._instance.release()

    def contact(self) -> Contact:
        member = self._supervisor.current
        refused = {} if member is None else member.refused_topics(self._topics)
        joined = member is not None and member.joined and not self._awaits_topics(refused)
        contact = self._supervisor.contact(member=joined)
        losses, words = self._history.losses, dict(self._storing.words)
        contact = replace(contact, losses=losses, lost=self._history.lost, refusals=words)
        ours = self._complaints.current() or self._without_coordinator() or self._missing.explain(refused)
        if contact.problem is not None or ours is None:
            return contact
        return replace(contact, problem=ours.problem, detail=ours.detail)

    async def commit(
        self, epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
    ) -> Mapping[TopicPartition, CommitOutcome]:
        holding = self._ownership.holding
        if holding is None or holding.epoch != epoch or holding.over:
            return dict.fromkeys(offsets, CommitOutcome.STALE)
        doubtful = {where.topic for where in self._moving}
        return await self._storing.commit(holding, offsets, doubtful, deadline)

    async def fetch(self, wanted: Mapping[TopicPartition, int], wait: float) -> Fetched:
        until = self._clock.now() + wait
        while True:
            holding = await self._open_holding(until)
            if holding is None:
                return Fetched(self._ownership.epoch, {}, {})
            fetched = await self._take(holding, wanted)
            if fetched.records or fetched.positions or self._clock.now() >= until:
                self._watch_progress(holding, wanted)
                return fetched
            await self._news(holding, until)

    def pass_over(self, epoch: int, where: TopicPartition, batch: Unreadable) -> None:
        if epoch == self._ownership.epoch:
            self._complaints.tries.pass_over(where, batch)
            self._wake(None)

    # What the supervisor calls.

    def started(self, member: Member) -> None:
        """A new engine runs: join the group with it."""
        self._hearer = EngineListener(self._ownership, member, self._taken)
        member.subscribe(self._topics, self._hearer)

    async def lost(self, member: Member) -> None:
        """The engine is broken, and with it whatever it held."""
        if self._hearer is not None:
            self._hearer.gone = True
        self._forget()
        await self._ownership.release(lost=True)

    # From an assignment to its first record.

    def _taken(self, holding: Holding) -> None:
        self._forget()
        self._opening = asyncio.get_running_loop().create_task(self._asking.starts(holding))
        self._opening.add_done_callback(self._wake)

    async def _open_holding(self, until: float) -> Holding | None:
        """What is held and open, waiting for it until then."""
        while True:
            self._hear_complaints()
            await self._mind_the_session()
            holding = self._ownership.holding
            if holding is not None and not holding.closing and self._opened(holding):
                return holding
            if self._clock.now() >= until:
                return None
            await self._change(until)

    def _opened(self, holding: Holding) -> bool:
        """Open the gate if the start positions are known."""
        if holding.announced:
            return True
        opening = self._opening
        if opening is None or not opening.done() or not holding.member.delivering:
            return False
        found = opening.result()
        holding.topic_ids = dict(found.topic_ids)
        positions = found.stored | found.placed | holding.moved
        for where, position in positions.items():
            holding.member.seek(where, position.offset)
        for where, moved in found.moves.items():
            self._note_loss(where, moved)
        self._history.stored |= {where: position.offset for where, position in found.stored.items()}
        self._ownership.announce(holding, positions)
        return True

    async def _change(self, until: float) -> None:
        """Wait until something about the assignment may have changed."""
        self._ownership.changed.clear()
        timer = self._clock.call_later(until - self._clock.now(), self._ownership.changed.set)
        try:
            await self._ownership.changed.wait()
        finally:
            timer.cancel()

    def _wake(self, _: object) -> None:
        self._ownership.changed.set()

    # Records.

    async def _take(self, holding: Holding, wanted: Mapping[TopicPartition, int]) -> Fetched:
        """What is here already, partition by partition, until it is enough."""
        count = 0
        records: dict[TopicPartition, list[Record]] = {}
        positions: dict[TopicPartition, int] = {}
        ends: dict[TopicPartition, int] = {}
        self._complaints.hear_of_fetches(holding.member)
        await self._finish_moves(holding, positions)
        self._go_behind(holding, positions)
        left = self._leave_remade(holding) if holding.open else set()
        for where, limit in wanted.items():
            if limit < 1 or where.topic in left or not self._readable(holding, where):
                continue
            try:
                taken = await holding.member.take(where, self._shares.of(where, limit))
            except Exception as error:  # noqa: BLE001 - decompression may raise anything at all
                self._unreadable(holding, where, error)
                continue
            self._complaints.is_read(where)
            self._shares.taken(where)
            if taken:
                records[where] = taken
                ends[where] = holding.member.end_seen(where) or 0
                count += len(taken)
            position = holding.member.position(where)
            if position is not None and position != holding.next[where]:
                holding.next[where] = positions[where] = position
            if count >= ENOUGH_RECORDS:
                break
        return Fetched(holding.epoch, records, positions, self._complaints.tries.given_up(), ends)

    def _readable(self, holding: Holding, where: TopicPartition) -> bool:
        return (
            holding.member.has_data(where)  # first, for most have none
            and holding.open
            and holding.member.delivering
            and where in holding.next
            and self._is_free(where)
        )

    def _is_free(self, where: TopicPartition) -> bool:
        """Whether nothing keeps us from reading on: no move under way, no rest after a failure."""
        return where not in self._moving and not self._complaints.rests(where)

    def _unreadable(self, holding: Holding, where: TopicPartition, error: Exception) -> None:
        """The engine could not read one partition: go back to what was delivered, and say so."""
        offset = holding.next[where]
        if isinstance(error, OffsetOutOfRangeError):
            self._begin_move(holding, where)
            return
        holding.member.seek(where, offset)
        if holding.member.mend(where, error):
            self._complaints.hear_of_header(where, offset)
            return
        span = span_of(error)
        if self._shares.fewer(where, offset, span):
            return
        why = explain_unreadable(error, where, offset, span)
        batch = unreadable_batch(error, where, offset, span)
        self._complaints.let_rest(where, why, holding.member.answered(where), batch)

    async def _news(self, holding: Holding, until: float) -> None:
        """Wait until something was fetched, or the assignment changes."""
        news = holding.member.news()
        changed = self._ownership.changed
        changed.clear()
        news.add_done_callback(self._wake)
        timer = self._clock.call_later(until - self._clock.now(), changed.set)
        try:
            await changed.wait()
        finally:
            timer.cancel()
            # Dropping the news must not count as news, or the next wait would end at once, for ever.
            news.remove_done_callback(self._wake)
            holding.member.no_more_news(news)

    def _watch_progress(self, holding: Holding, wanted: Mapping[TopicPartition, int]) -> None:
        now = self._clock.now()
        if now < self._look_at or not holding.open:
            return
        self._look_at = now + self._tuning.stuck_after_seconds / 10
        watched = [where for where, limit in wanted.items() if limit and self._is_free(where)]
        stuck = self._progress.stuck(holding.member, holding.next, watched, now)
        if stuck is not None and self._supervisor.contact(member=True).problem is None:
            said = f"{stuck.topic}/{stuck.partition} stands at {holding.next[stuck]} and gets nowhere"
            self._supervisor.replace(holding.member, Explanation(Problem.ENGINE_FAILED, said))

    # Offsets that the log does not have.

    def _leave_remade(self, holding: Holding) -> set[str]:
        """No broker complains of an offset in a topic made anew that has grown past it already."""
        holding.learn_topics()
        remade = holding.remade()
        for topic in remade - {where.topic for where in self._moving}:
            one = next((where for where in holding.next if where.topic == topic), None)
            if one is not None:
                self._begin_move(holding, one)
        return remade

    def _begin_move(self, holding: Holding, where: TopicPartition) -> None:
        moving = asyncio.get_running_loop().create_task(self._asking.moves(holding, where))
        moving.add_done_callback(self._wake)
        self._moving[where] = moving

    async def _finish_moves(self, holding: Holding, positions: dict[TopicPartition, int]) -> None:
        for where in [where for where, moving in self._moving.items() if moving.done()]:
            found = self._moving.pop(where).result()
            for one, moved in found.items():
                if moved.is_loss:
                    self._note_loss(one, moved)
                self._complaints.is_read(one)
            if found[where].is_another_log:
                holding.cut |= found.keys()
                await self._begin_anew(holding, found)
                return
            holding.next[where] = positions[where] = found[where].to
            holding.member.seek(where, found[where].to)

    def _go_behind(self, holding: Holding, positions: dict[TopicPartition, int]) -> None:
        """Pass over batches that were given up."""
        for where, batch in self._complaints.tries.passed().items():
            if holding.open and where not in self._moving:
                holding.next[where] = positions[where] = batch.end
                holding.member.seek(where, batch.end)
                self._complaints.is_read(where)
                self._shares.taken(where)
                self._note_loss(where, passed(batch))

    def _note_loss(self, where: TopicPartition, moved: Move) -> None:
        reports.records_lost(self._group, where, moved.sentence)
        self._history.stored.pop(where, None)
        self._history.add(Loss(where, moved.offset, moved.to, moved.lost, moved.sentence, self._clock.now()))

    async def _begin_anew(self, holding: Holding, found: Moves) -> None:
        """Offsets of an assignment only grow: to go back, end it and begin another."""
        self._forget()
        released = await self._ownership.release(lost=False)
        if released is not holding or not holding.member.delivering:
            return  # A rebalance came first, and a new assignment with it.
        again = self._ownership.take(holding.member, holding.partitions, targets(found))
        if again is not None:
            self._taken(again)

    async def _mind_the_session(self) -> None:
        """Let go of what the group may have given to another by now, and join it again.

        Nobody tells a member that is cut off, and the engine would go on: two would handle one record.
        """
        holding = self._ownership.holding
        if holding is None or holding.closing or holding.member.unheard() <= self._session_seconds:
            return
        reports.session_over(self._group, holding.member.unheard())
        self._forget()
        holding.member.join_as_another()
        await self._ownership.release(lost=True)

    # Complaints of the engine.

    def _hear_complaints(self) -> None:
        member = self._supervisor.current
        if member is None:
            return
        self._missing.look(member.refused_topics(self._topics))
        if (rival := self._rival()) is not None:
            self._ownership.stripped.clear()
            self._complaints.hear_of_rival(rival)
            self._supervisor.replace(member, rival)
            return
        try:
            member.look_alive()
        except KafkaError as error:
            if (why := self._complaints.hear(error)) is not None:
                self._supervisor.replace(member, why)

    def _rival(self) -> Explanation | None:
        """Whether another process seems to be a member under the same name: the engine never says so."""
        if self._instance.id is None or not self._ownership.stripped_thrice(self._tuning.rival_seconds):
            return None
        return Explanation(Problem.GROUP_REFUSED, f"{self._instance.claim()}: {RIVAL}")

    def _awaits_topics(self, refused: Mapping[str, type[BaseException]]) -> bool:
        """Whether nothing is held because a topic is too new to be known to each broker."""
        holding = self._ownership.holding
        return (holding is None or not holding.partitions) and self._missing.may_come(refused)

    def _without_coordinator(self) -> Explanation | None:
        member = self._supervisor.current
        sought = None if member is None else member.coordinator_sought()
        if sought is None or sought[0] < self._tuning.coordinator_seconds:
            return None
        return explain_no_coordinator(self._group, *sought)

    def _forget(self) -> None:
        """Drop what belongs to an assignment that is over."""
        for task in (self._opening, *self._moving.values()):
            if task is not None:
                task.cancel()
        self._opening = None
        self._moving.clear()
        self._storing.forget()
        self._complaints.forget_partitions()
        self._shares = Shares()
        self._progress = Progress(self._tuning.stuck_after_seconds)
