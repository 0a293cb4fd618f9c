"""Asks the cluster where reading starts or goes on, again and again until there is an answer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from aiokafka.errors import KafkaError, KafkaTimeoutError

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, settled_within, sleep
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.engine import Member
from convex_messaging_fastapi.transport.kafka.offsets.history import History
from convex_messaging_fastapi.transport.kafka.offsets.ownership import Holding
from convex_messaging_fastapi.transport.kafka.offsets.positions import (
    LastKnown,
    Moves,
    Starts,
    TopicIds,
    moves,
    starts,
)
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

T = TypeVar("T")


class OffsetLookup:
    """The questions of one group. A caller cancels a question that it no longer needs."""

    def __init__(self, group: str, clock: Clock, tuning: Tuning, history: History, reset_policy: str) -> None:
        self._group, self._clock, self._tuning = group, clock, tuning
        self._history, self._reset_policy = history, reset_policy
        self.from_begin: frozenset[str] = frozenset()
        """Topics that are read from their beginning where the policy would decide."""

    async def starts(self, holding: Holding) -> Starts:
        """The start positions of a whole assignment, and the ids of its topics."""
        member, unknown = holding.member, holding.partitions - holding.moved.keys()

        async def ask() -> Starts:
            doubted = False
            while True:
                ids = holding.topics_now()
                found = await self._starts(member, unknown, ids)
                if ids != holding.topics_now():
                    continue  # a topic was made anew while we asked
                if doubted or all(member.was_replaced(topic) for topic in found.strange):
                    return found
                # A broker that is behind still tells old ids, and commits for the new topics seem strange.
                await self._doubt(member)
                doubted = True

        await self._learn(member)
        return await self._with_ends(member, await self._answer(ask, "where to start"))

    async def _starts(self, member: Member, unknown: Collection[TopicPartition], ids: TopicIds) -> Starts:
        by_policy = defaultdict[str, set[TopicPartition]](set)
        for where in unknown:
            by_policy[self._policy(where.topic)].add(where)
        found = Starts({}, {}, {}, ids)
        for policy, partitions in by_policy.items():
            found = found.beside(await starts(member, partitions, ids, policy, self._history.stored))
        return found

    def _policy(self, topic: str) -> str:
        return "earliest" if topic in self.from_begin else self._reset_policy

    async def _with_ends(self, member: Member, found: Starts) -> Starts:
        """Add the ends of the logs whose commits carry metadata, if brokers answer within `confirm_seconds`.

        The end only limits what metadata may claim, so a leader that does not answer must not hold up others.
        """
        asked = [where for where, at in found.stored.items() if at.metadata and member.is_led(where)]
        if not asked:
            return found
        asking = asyncio.ensure_future(member.ends(asked, last=True))
        try:
            in_time = await settled_within(self._clock, asking, self._tuning.confirm_seconds)
        finally:
            asking.cancel()
        if not in_time or asking.exception() is not None:
            reports.no_answer(f"where the logs of {asked} end", f"asked by group {self._group}")
            return found
        ends = asking.result()
        return found._replace(
            stored={where: at._replace(end=ends.get(where)) for where, at in found.stored.items()}
        )

    async def moves(self, holding: Holding, where: TopicPartition) -> Moves:
        """Where to go on in a log that does not have our offset, or whose topic was made anew."""
        member = holding.member

        async def ask() -> Moves:
            await self._learn(member)
            policy = self._policy(where.topic)
            reading = LastKnown(holding.next, holding.topic_ids, self._history.stored, policy)
            return await moves(member, where, reading, lambda: self._doubt(member))

        what = f"where to read on in {where.topic}/{where.partition}, at {holding.next[where]}"
        return await self._answer(ask, what)

    async def _doubt(self, member: Member) -> None:
        """Give a broker that is behind time to catch up, and refresh metadata. Raises `KafkaTimeoutError`."""
        await sleep(self._clock, self._tuning.confirm_seconds)
        if not await self._learn(member):
            raise KafkaTimeoutError("no broker tells what topics there are")

    async def _learn(self, member: Member) -> bool:
        return await member.learn(self._clock, self._tuning.confirm_seconds)

    async def _answer(self, ask: Callable[[], Awaitable[T]], what: str) -> T:
        """Ask until there is an answer; the log says once why there is none yet."""
        said = False
        while True:
            try:
                return await ask()
            except KafkaError as error:
                reports.not_known_yet(self._group, what, error, is_known=said)
                said = True
                await sleep(self._clock, self._tuning.retry_seconds)
