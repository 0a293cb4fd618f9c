"""What a promise is acted out on: one transport, fresh topics, members that are driven and watched.

`Member` is the smallest user of a consumer: it fetches for ever and remembers what it was told.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.transport.base import (
    CommitOutcome,
    ConsumerTransport,
    Fetched,
    NewTopic,
    Position,
    ProducerTransport,
    Sent,
    Transport,
    Verdict,
)
from convex_messaging_fastapi.transport.transactional import TransactionalProducer

SECONDS = 20.0
"""How long a test waits for what must happen."""

FETCH_WAIT_SECONDS = 0.2
STOP_SECONDS = 5.0

Reset = Literal["earliest", "latest"]


class NewTransport(Protocol):
    def __call__(self, reset: Reset) -> Transport: ...


class News:
    """Wakes whoever waits for a condition, each time something may have changed."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Return once the condition holds; fail with `what` when it does not come to that."""
        try:
            async with asyncio.timeout(SECONDS):
                while not condition():
                    future = asyncio.get_running_loop().create_future()
                    self._waiting.append(future)
                    await future
        except TimeoutError:
            raise TimeoutError(f"waited {SECONDS:g} s for {what}") from None


class Member:
    """One member of a group: fetches what it `wants`, and holds what it was given.

    `on_revoked` runs inside a revocation, with the epoch that ends and its deadline.
    """

    def __init__(self, consumer: ConsumerTransport, clock: SystemClock, news: News) -> None:
        self.consumer = consumer
        self.clock = clock
        self.news = news
        self.epoch = 0
        self.held: dict[TopicPartition, Position] = {}
        self.told: list[tuple[str, int]] = []
        self.records: list[Record] = []
        self.positions: dict[TopicPartition, int] = {}
        self.fetched: list[Fetched] = []
        self.wants: Callable[[], Mapping[TopicPartition, int]] = lambda: dict.fromkeys(self.held, 1000)
        self.on_revoked: Callable[[int, float], Awaitable[object]] | None = None
        self._fetching: asyncio.Task[None] | None = None

    # What the transport tells.

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        held = dict(positions)
        self.epoch, self.held, self.positions = epoch, held, {}
        self.told.append(("assigned", epoch))
        self.news.tell()

    async def revoked(self, epoch: int, deadline: float) -> None:
        self.told.append(("revoked", epoch))
        self.news.tell()
        if self.on_revoked is not None:
            await self.on_revoked(epoch, deadline)
        self.held = {}

    # What a test does with it.

    async def start(self, topics: Iterable[str], optional: Iterable[str] = ()) -> None:
        await self.consumer.start(topics, self, optional)
        self._fetching = asyncio.create_task(self._fetch())

    async def pause(self) -> None:
        """Fetch no more, so that the test can."""
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.cancel()
            await asyncio.wait([fetching])
            if not fetching.cancelled():
                fetching.result()  # it ended by itself, so by an error

    async def stop(self) -> None:
        await self.pause()
        await self.consumer.stop(self.clock.now() + STOP_SECONDS)

    async def holding(self, count: int) -> None:
        """Wait until exactly so many partitions are held."""
        await self.until(
            lambda: self.told and self.told[-1][0] == "assigned" and len(self.held) == count,
            f"{count} partitions",
        )

    async def having_read(self, count: int) -> list[bytes | None]:
        """Wait for so many records; the values of all that came."""
        await self.until(lambda: len(self.records) >= count, f"{count} records")
        return self.values

    async def until(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> object:
            if self._fetching is not None and self._fetching.done():
                self._fetching.result()
            return condition()

        await self.news.until(
            holds, f"{what}; {self.told}, {len(self.records)} records, {self.consumer.contact()}"
        )

    async def commit(
        self, offsets: Mapping[TopicPartition, Position], epoch: int | None = None
    ) -> CommitOutcome:
        """What became of all of them, which must be the same."""
        deadline = self.clock.now() + STOP_SECONDS
        outcomes = await self.consumer.commit(self.epoch if epoch is None else epoch, offsets, deadline)
        (outcome,) = set(outcomes.values())
        return outcome

    async def commit_all(self, epoch: int, deadline: float) -> None:
        """As `on_revoked`: what was read is finished, so commit it."""
        offsets = {where: Position(offset) for where, offset in self.positions.items()}
        outcomes = await self.consumer.commit(epoch, offsets, deadline)
        self.told.extend((outcome.value, epoch) for outcome in set(outcomes.values()))

    def next_position(self, where: TopicPartition) -> Position:
        return Position(self.positions[where])

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]

    async def _fetch(self) -> None:
        while True:
            fetched = await self.consumer.fetch(self.wants(), FETCH_WAIT_SECONDS)
            assert fetched.epoch == self.epoch or not fetched.records, (
                "records of an epoch nobody was told of"
            )
            for where, records in fetched.records.items():
                assert where in self.held, "records of a partition that is not held"
                self.records += records
            self.positions |= fetched.positions
            self.fetched.append(fetched)
            self.news.tell()


class Stage:
    """One transport to try promises on. `cannot` maps a promise it does not make to the reason."""

    def __init__(
        self, name: str, unique: str, new_transport: NewTransport, cannot: Mapping[str, str]
    ) -> None:
        self.name = name
        self.clock = SystemClock()
        self.news = News()
        self._unique = unique
        self._new_transport = new_transport
        self._cannot = cannot
        self._numbers = itertools.count(1)
        self._members: list[Member] = []
        self._producers: list[ProducerTransport | TransactionalProducer] = []

    def needs(self, promise: str) -> None:
        """Skip a test of a promise that this transport does not make."""
        if promise in self._cannot:
            pytest.skip(f"{self.name} does not promise it: {self._cannot[promise]}")

    def transport(self, reset: Reset = "earliest") -> Transport:
        return self._new_transport(reset)

    def new_name(self) -> str:
        """A name for a topic or group that nobody has used."""
        return f"{self._unique}.{next(self._numbers)}"

    async def topic(self, partitions: int = 4, config: Mapping[str, str] | None = None) -> str:
        """A new topic."""
        name = self.new_name()
        await self.transport().admin().ensure_topic(NewTopic(name, partitions, config=config or {}))
        return name

    async def producer(self) -> ProducerTransport:
        producer = self.transport().producer()
        self._producers.append(producer)
        await producer.start()
        return producer

    async def owner(self, id: str, timeout_seconds: float = 10.0) -> TransactionalProducer:
        """One that has just claimed this transactional id."""
        producer = self.transport().transactional(id, timeout_seconds)
        self._producers.append(producer)
        await producer.claim()
        return producer

    async def write(self, topic: str, partition: int, records: Sequence[OutgoingRecord]) -> list[Sent]:
        """Write all of these, in as many batches as it takes."""
        producer = await self.producer()
        answers: list[Sent] = []
        while records:
            sent = await producer.send(TopicPartition(topic, partition), records)
            assert sent.verdict is Verdict.WRITTEN, sent
            answers.append(sent)
            records = records[sent.taken :]
        return answers

    def member(self, group: str, reset: Reset = "earliest") -> Member:
        """A member that is not started yet."""
        member = Member(self.transport(reset).consumer(group), self.clock, self.news)
        self._members.append(member)
        return member

    async def join(self, group: str, *topics: str, reset: Reset = "earliest") -> Member:
        """A member that has just begun to fetch."""
        member = self.member(group, reset)
        await member.start(topics)
        return member

    async def close(self) -> None:
        for member in self._members:
            await member.stop()
        for producer in self._producers:
            await producer.stop(self.clock.now() + STOP_SECONDS)


def plain(*values: bytes) -> list[OutgoingRecord]:
    """Records with nothing but a value."""
    return [OutgoingRecord(None, value) for value in values]


def numbered(count: int, first: int = 0) -> list[OutgoingRecord]:
    """Records whose values are numbers, in order."""
    return plain(*(b"%d" % number for number in range(first, first + count)))
