"""A worker on a transport that does only what the test says, and a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from convex_messaging_fastapi.clock import Clock, ManualClock, time_limit
from convex_messaging_fastapi.consuming.assignment import OwnedPartition
from convex_messaging_fastapi.consuming.breaking import CircuitBreaker
from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.calling import CallContext, compile_call
from convex_messaging_fastapi.consuming.dispatch import Dispatch, HandlerConfig
from convex_messaging_fastapi.consuming.endings import DeadLetters, ending_for
from convex_messaging_fastapi.consuming.outcome import Tally
from convex_messaging_fastapi.consuming.subscription import Subscription, SubscriptionConfig, lane_key_of
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.consuming.unreadable import UnreadableBatches
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.errors import PublishFailed
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.policies import Breaker, DeadLetterPolicy, Retry
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record, TopicPartition, utc
from convex_messaging_fastapi.testing import until_idle
from convex_messaging_fastapi.transport.base import (
    AssignmentListener,
    CommitOutcome,
    Contact,
    Fetched,
    Position,
    Unreadable,
)

TOPIC = "convex.bets"
LETTERS = "convex.dlq"
REPLAYS = "convex.g.replay"
WHERE = TopicPartition(TOPIC, 0)


class ScriptedTransport:
    """Implements `ConsumerTransport`: fetches what it is fed, within what is wanted."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.logs: dict[TopicPartition, deque[Record]] = {}
        self.wants: list[Mapping[TopicPartition, int]] = []
        self.commits: list[tuple[int, Mapping[TopicPartition, Position]]] = []
        self.outcomes: deque[CommitOutcome] = deque()
        """What becomes of the next commits as wholes."""
        self.fates: dict[TopicPartition, CommitOutcome] = {}
        """What becomes of a partition in every commit."""
        self.unreadable: dict[TopicPartition, Unreadable] = {}
        """What every fetch tells of, until it is passed over."""
        self.passed: list[tuple[int, TopicPartition, Unreadable]] = []
        self._behind: dict[TopicPartition, int] = {}
        self.supervised = True
        self.commit_gate: asyncio.Event | None = None
        self.epoch = 0
        self.broken: Exception | None = None
        self.stopped = False
        self.listener: AssignmentListener | None = None
        self.optional: tuple[str, ...] = ()
        self._news = asyncio.Event()

    async def start(
        self, topics: Iterable[str], listener: AssignmentListener, optional: Iterable[str] = ()
    ) -> None:
        self.listener, self.optional = listener, tuple(optional)

    async def ends(self, wanted: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        raise NotImplementedError("no worker asks for them")

    async def fetch(self, wanted: Mapping[TopicPartition, int], wait: float) -> Fetched:
        self.wants.append(wanted)
        if self.broken is not None:
            raise self.broken
        if not self._behind and not any(self.logs.get(where) for where in wanted):
            self._news.clear()
            with suppress(TimeoutError):
                async with time_limit(self._clock, wait):
                    await self._news.wait()
        records = {
            where: [self.logs[where].popleft() for _ in range(min(count, len(self.logs[where])))]
            for where, count in wanted.items()
            if self.logs.get(where)
        }
        positions = self._behind | {where: got[-1].offset + 1 for where, got in records.items()}
        self._behind = {}
        return Fetched(self.epoch, records, positions, dict(self.unreadable))

    def pass_over(self, epoch: int, where: TopicPartition, batch: Unreadable) -> None:
        self.passed.append((epoch, where, batch))
        del self.unreadable[where]
        self._behind[where] = batch.end
        self.ring()

    async def commit(
        self, epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
    ) -> Mapping[TopicPartition, CommitOutcome]:
        if self.commit_gate is not None:
            await self.commit_gate.wait()
        self.commits.append((epoch, offsets))
        outcome = self.outcomes.popleft() if self.outcomes else CommitOutcome.COMMITTED
        return {where: self.fates.get(where, outcome) for where in offsets}

    async def stop(self, deadline: float) -> None:
        self.stopped = True

    def contact(self) -> Contact:
        words = dict.fromkeys(self.fates, "the broker's word")
        return Contact(0.0, member=True, alive=self.supervised, refusals=words)

    # What the test says.

    def assign(self, *partitions: TopicPartition, start: int = 0) -> None:
        assert self.listener is not None
        self.epoch += 1
        self.listener.assigned(self.epoch, {where: Position(start) for where in partitions or (WHERE,)})
        self.ring()

    def revoke(self, deadline: float) -> asyncio.Task[None]:
        assert self.listener is not None
        return asyncio.ensure_future(self.listener.revoked(self.epoch, deadline))

    def feed(self, *offsets: int, where: TopicPartition = WHERE, key: bytes | None = None) -> None:
        """Each with a key of its own, unless all are to have the same."""
        log = self.logs.setdefault(where, deque())
        log.extend(Record(*where, offset, 0, key or b"key-%d" % offset, b"%d" % offset) for offset in offsets)
        self.ring()

    def feed_records(self, *records: Record) -> None:
        for record in records:
            self.logs.setdefault(record.topic_partition, deque()).append(record)
        self.ring()

    def ring(self) -> None:
        self._news.set()

    @property
    def committed(self) -> dict[TopicPartition, int]:
        """The last offset committed for each partition."""
        return {where: position.offset for _, offsets in self.commits for where, position in offsets.items()}


class Graveyard:
    """Implements `DeadLetters`; `refuses` is what each burial raises."""

    def __init__(self) -> None:
        self.buried: list[tuple[Record, Failure]] = []
        self.refuses: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def bury(self, record: Record, failure: Failure) -> Receipt:
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses is not None:
            raise self.refuses
        self.buried.append((record, failure))
        return Receipt(LETTERS, 0, len(self.buried) - 1, utc(0))


def subscription(
    handler: Callable[..., Any],
    id: str,
    clock: Clock,
    dead_letters: DeadLetters,
    threads: HandlerThreads,
    *,
    retry: Retry = Retry(attempts=2, delay_seconds=10, jitter=0),  # noqa: B008 - frozen
    dead_letter: DeadLetterPolicy = "bury",
    timeout: float | None = None,
    breaker: Breaker | None = None,
    **config: Any,
) -> Subscription:
    choices = {"ordering": "key", "concurrency": 8, "batch": None, "topics": (TOPIC,), **config}
    is_batch = choices["batch"] is not None
    subscription_config = SubscriptionConfig(id=id, kind="event", group="g", **choices)
    lane_key = lane_key_of(subscription_config)
    handler_config = HandlerConfig(
        plan=compile_call(handler, batch=is_batch),
        group="g",
        handler=id,
        retry=retry,
        timeout=timeout,
        is_batch=is_batch,
        breaker=None if breaker is None else CircuitBreaker(breaker, lane_key, clock, "g", id),
    )
    call_context = CallContext(app=None, state={}, threads=threads)
    tally = Tally()
    ending = ending_for(dead_letter, dead_letters, LETTERS, tally, random=lambda: 0.0)
    dispatch = Dispatch(handler_config, call_context, ending, tally, clock, random=lambda: 0.0)
    return Subscription(subscription_config, dispatch, clock, copy_context())


class Bench:
    """One worker with one subscription whose handler the test gives."""

    def __init__(
        self,
        handler: Callable[..., Any],
        *,
        limits: Limits = Limits(10_000, 10_000, 64 * 1024 * 1024),  # noqa: B008 - frozen
        commit_interval: float | None = 5.0,
        buries_unreadable: bool = False,
        replay_topic: str | None = REPLAYS,
        **config: Any,
    ) -> None:
        self.clock = ManualClock()
        self.transport = ScriptedTransport(self.clock)
        self.graveyard = Graveyard()
        self.threads = HandlerThreads(4)
        self.subscription = self.subscribe(handler, **config)
        batches = UnreadableBatches("g", self.graveyard, LETTERS, self.clock, lambda: 0.0, texts=True)
        self.worker = Worker(
            "g",
            lambda: self.transport,
            self.clock,
            limits,
            commit_interval,
            batches if buries_unreadable else None,
            replay_topic=replay_topic,
        )
        self.worker.add(self.subscription)

    def subscribe(self, handler: Callable[..., Any], id: str = "handler", **choices: Any) -> Subscription:
        return subscription(handler, id, self.clock, self.graveyard, self.threads, **choices)

    async def __aenter__(self) -> Bench:
        await self.worker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        stopping = asyncio.ensure_future(self.worker.stop(0.0, self.clock.now() + 1))
        while not stopping.done():
            await self.turns()
            self.clock.advance(1)
        await stopping
        self.threads.close()

    async def without_letter(self, seconds: float = 10.5) -> OwnedPartition:
        """The one partition, so long after its first record began to fail: no letter can be written of it."""
        self.graveyard.refuses = PublishFailed("no letter today")
        self.transport.assign()
        self.transport.feed(0)
        await self.advance(seconds)
        [owned] = self.worker.partitions
        return owned

    async def turns(self) -> None:
        """Let everything go on that does not wait for time."""
        await until_idle(30)

    async def advance(self, seconds: float) -> None:
        """Let time pass in steps no longer than a fetch waits."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.clock.advance(min(0.1, end - self.clock.now()))
            await self.turns()
