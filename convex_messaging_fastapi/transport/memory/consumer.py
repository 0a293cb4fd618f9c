"""One member of one group of the memory broker. Everything it does happens inside its own `fetch`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import (
    AssignmentListener,
    CommitOutcome,
    Contact,
    Fetched,
    NewTopic,
    Position,
    Problem,
    Unreadable,
)
from convex_messaging_fastapi.transport.memory.broker import MemoryBroker
from convex_messaging_fastapi.transport.memory.groups import Grant, Member, Standing, Terms
from convex_messaging_fastapi.transport.memory.producer import contact
from convex_messaging_fastapi.transport.memory.topics import is_name

LOST = float("-inf")
"""The deadline of a revocation that has happened already."""


class MemoryConsumer:
    """Implements `ConsumerTransport`."""

    def __init__(self, broker: MemoryBroker, group: str, terms: Terms) -> None:
        self._broker, self._clock = broker, broker.clock
        self._group = group
        self._terms = terms
        self._topics: frozenset[str] = frozenset()
        self._listener: AssignmentListener = _Nobody()
        self._member: Member | None = None
        self._held: Grant | None = None
        self._next: dict[TopicPartition, int] = {}
        self._epoch = 0

    async def start(
        self, topics: Iterable[str], listener: AssignmentListener, optional: Iterable[str] = ()
    ) -> None:
        self._listener = listener
        self._topics = frozenset(topics)
        others = frozenset(optional) - self._topics
        self._member = Member(self._topics | others, self._terms, from_begin=others)
        for topic in sorted(filter(is_name, self._topics)):
            self._broker.ensure(NewTopic(topic))
        with self._broker.group(self._group) as group:
            group.join(self._member, self._clock.now())

    async def stop(self, deadline: float) -> None:
        member, self._member, self._held = self._member, None, None
        if member is not None:
            with self._broker.group(self._group) as group:
                group.leave(member, self._clock.now())

    def pass_over(self, epoch: int, where: TopicPartition, batch: Unreadable) -> None:
        """Whatever is in memory can be read."""

    def contact(self) -> Contact:
        told = contact(self._broker, member=self._member is not None and self._epoch > 0)
        missing = sorted(topic for topic in self._topics if not is_name(topic))
        if told.problem is not None or not missing:
            return told
        detail = f"Kafka takes no such name for a topic: {', '.join(missing)}"
        return replace(told, problem=Problem.TOPIC_MISSING, detail=detail)

    async def commit(
        self, epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
    ) -> Mapping[TopicPartition, CommitOutcome]:
        return dict.fromkeys(offsets, self._commit(epoch, offsets))

    def _commit(self, epoch: int, offsets: Mapping[TopicPartition, Position]) -> CommitOutcome:
        if self._member is None:
            return CommitOutcome.STALE
        if self._broker.is_down:
            return CommitOutcome.FAILED
        with self._broker.group(self._group) as group:
            return group.commit(self._member, epoch, offsets)

    async def ends(self, wanted: Collection[TopicPartition]) -> Mapping[TopicPartition, int] | None:
        if self._broker.is_down:
            raise TransportError("the memory broker is down")
        ends = {topic: self._broker.end_offsets(topic) for topic in {where.topic for where in wanted}}
        return {
            where: ends[where.topic][where.partition]
            for where in wanted
            if where.partition < len(ends[where.topic])
        }

    async def fetch(self, wanted: Mapping[TopicPartition, int], wait: float) -> Fetched:
        # A turn for others, or a caller that never lacks records would never let them run.
        await asyncio.sleep(0)
        until, epoch = self._clock.now() + wait, self._epoch
        with self._broker.bell() as bell, self._alive():
            while True:
                bell.quiet()
                if not self._broker.is_down:
                    await self._keep_up()
                fetched = self._take(wanted)
                # Whoever has just been assigned partitions could not want them yet: let him.
                news = fetched.positions or self._epoch != epoch or self._member is None
                if news or self._clock.now() >= until:
                    return fetched
                await bell.wait(self._clock, self._next_look(until))

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """While a member fetches its group does not think it gone."""
        member = self._member
        if member is None:
            yield
            return
        member.fetching = True
        try:
            yield
        finally:
            member.fetching, member.last_seen = False, self._clock.now()

    async def _keep_up(self) -> None:
        """Follow the group: let go of what is taken away, take what is given."""
        while (member := self._member) is not None:
            match self._standing(member):
                case Standing.WAITING:
                    return
                case Standing.HOLDING:
                    self._accept(member)
                    return
                case Standing.ASKED_BACK:
                    await self._let_go(self._clock.now() + self._terms.drain_seconds)
                    with self._broker.group(self._group) as group:
                        group.hand_back(member)
                case Standing.EXPELLED:
                    await self._let_go(LOST)
                    self._rejoin(member)

    def _standing(self, member: Member) -> Standing:
        with self._broker.group(self._group) as group:
            group.expel_overdue(self._clock.now())
            return group.standing(member)

    def _accept(self, member: Member) -> None:
        grant = member.grant
        if grant is None or grant is self._held:
            return
        self._held, self._epoch = grant, grant.epoch
        self._next = {where: position.offset for where, position in grant.positions.items()}
        self._listener.assigned(grant.epoch, grant.positions)

    async def _let_go(self, deadline: float) -> None:
        # Forgotten before it is told: if the caller is cancelled meanwhile, it is not told twice.
        held, self._held, self._next = self._held, None, {}
        if held is not None:
            await self._listener.revoked(held.epoch, deadline)

    def _rejoin(self, member: Member) -> None:
        with self._broker.group(self._group) as group:
            if self._member is member:
                group.join(member, self._clock.now())

    def _next_look(self, until: float) -> float:
        """When to look again, if no bell rings before: also when another member becomes overdue."""
        if self._broker.is_down:
            return until
        with self._broker.group(self._group) as group:
            return min(until, group.next_overdue())

    def _take(self, wanted: Mapping[TopicPartition, int]) -> Fetched:
        if self._broker.is_down or self._held is None:
            return Fetched(self._epoch, {}, {})
        ours = {where: (self._next[where], limit) for where, limit in wanted.items() if where in self._next}
        read = self._broker.read({where: ask for where, ask in ours.items() if ask[1] > 0})
        self._next.update(read.positions)
        return Fetched(self._epoch, read.records, read.positions, ends=read.ends)


class _Nobody:
    """Listens before `start` has said who does."""

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None: ...

    async def revoked(self, epoch: int, deadline: float) -> None: ...
