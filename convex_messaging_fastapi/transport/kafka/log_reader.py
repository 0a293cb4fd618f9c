"""Reads logs over aiokafka without a group. Connects for each call, for there are few."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)

from convex_messaging_fastapi.clock import Clock, settled_within, sleep
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, LogRange, Position
from convex_messaging_fastapi.transport.kafka.engine import Client, PartitionReader, span_of, stored_by
from convex_messaging_fastapi.transport.kafka.offsets import unmarked
from convex_messaging_fastapi.transport.kafka.recovery import (
    Explanation,
    Reached,
    explain_membership,
    explain_unreadable,
)
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

_MISSING = (UnknownTopicOrPartitionError, InvalidTopicError)


class OpenLog:
    """The log of one topic, on connections that stay open. Every call raises as `LogReader` has it."""

    def __init__(
        self,
        reader: PartitionReader,
        ranges: Callable[[], Awaitable[Mapping[TopicPartition, LogRange]]],
        scan: Callable[[dict[TopicPartition, LogRange]], AsyncIterator[Sequence[Record]]],
    ) -> None:
        self._reader, self.ranges, self._scan = reader, ranges, scan

    async def offsets_at(
        self, timestamp_ms: int, ranges: Mapping[TopicPartition, LogRange]
    ) -> Mapping[TopicPartition, int]:
        """Of each partition its first record that is not older; where none is, the end."""
        found = await self._reader.offsets_at(timestamp_ms, ranges)
        return {where: found.get(where, end) for where, (_, end) in ranges.items()}

    def read(self, ranges: Mapping[TopicPartition, LogRange]) -> AsyncIterator[Sequence[Record]]:
        """As `LogReader.read`, of ranges that the log has."""
        return self._scan({where: span for where, span in ranges.items() if span.first < span.end})


class KafkaLogReader:
    """Implements `LogReader`. Nothing is waited for longer than `patience_seconds`."""

    def __init__(
        self,
        clock: Clock,
        tuning: Tuning,
        patience_seconds: float,
        *,
        reach: Callable[[], Awaitable[Reached | Explanation]],
        client: Callable[[Reached], Client],
        reader: Callable[[Reached], PartitionReader],
    ) -> None:
        self._clock, self._tuning, self._patience_seconds = clock, tuning, patience_seconds
        self._reach, self._client, self._reader = reach, client, reader

    async def ranges(self, topic: str) -> Mapping[TopicPartition, LogRange]:
        async with self._reading(f"the log of topic {topic!r}", topic) as reader:
            return await self._there(reader, topic)

    async def read(self, ranges: Mapping[TopicPartition, LogRange]) -> AsyncGenerator[Sequence[Record], None]:
        if not ranges:
            return
        topics = sorted({where.topic for where in ranges})
        async with self._reading(f"the log of {', '.join(topics)}") as reader:
            there: dict[TopicPartition, LogRange] = {}
            for topic in topics:
                there |= await self._there(reader, topic)
            async for records in self._scan(reader, _in_both(ranges, there)):
                yield records

    @asynccontextmanager
    async def open(self, topic: str) -> AsyncIterator[OpenLog]:
        """For whoever reads on and on; one call at a time."""
        async with self._reading(f"the log of topic {topic!r}", topic) as reader:
            yield OpenLog(reader, partial(self._there, reader, topic), partial(self._scan, reader))

    async def committed(self, group: str) -> Mapping[TopicPartition, Position]:
        what = f"what group {group!r} has committed"
        client = self._client(await self._reached(what))
        with _telling(what, group=group):
            try:
                await client.bootstrap()
                found = await self._stored(client, group)
            finally:
                await client.close()
        return {where: _as_given(position) for where, position in found.items()}

    async def _stored(self, client: Client, group: str) -> Mapping[TopicPartition, Position]:
        give_up = self._clock.now() + self._patience_seconds
        while True:
            try:
                return await stored_by(client, group)
            except KafkaError as error:
                # A new coordinator, or one that has moved, is soon known.
                if not error.retriable or self._clock.now() >= give_up:
                    raise
            await sleep(self._clock, self._tuning.retry_seconds)

    @asynccontextmanager
    async def _reading(self, what: str, topic: str = "") -> AsyncIterator[PartitionReader]:
        reader = self._reader(await self._reached(what))
        with _telling(what, topic=topic):
            try:
                await reader.start()
                yield reader
            finally:
                await reader.stop(self._clock, self._clock.now() + self._tuning.stop_seconds)

    async def _reached(self, what: str) -> Reached:
        reached = await self._reach()
        if isinstance(reached, Explanation):
            raise TransportError(f"{what} cannot be read: {reached.detail}", reached.problem.value)
        return reached

    async def _there(self, reader: PartitionReader, topic: str) -> dict[TopicPartition, LogRange]:
        """The ranges of a topic now; empty if it does not exist. Raises `KafkaError`."""
        answer = await reader.ask(topic)
        if answer.error in _MISSING:
            # A broker may be a moment behind the one that has just created the topic.
            await sleep(self._clock, self._tuning.retry_seconds)
            answer = await reader.ask(topic)
        if not answer.exists:
            if answer.error in _MISSING or not issubclass(answer.error, KafkaError):
                return {}
            raise answer.error(topic)
        partitions = [TopicPartition(topic, partition) for partition in range(answer.partitions)]
        first, end = await reader.ends(partitions, last=False), await reader.ends(partitions, last=True)
        return {where: LogRange(first[where], end[where]) for where in partitions}

    async def _scan(
        self, reader: PartitionReader, left: dict[TopicPartition, LogRange]
    ) -> AsyncIterator[Sequence[Record]]:
        """Take what the engine has fetched, partition by partition, until nothing is left."""
        if left:
            reader.read_from({where: first for where, (first, _) in left.items()})
        give_up = self._clock.now() + self._patience_seconds
        while left:
            here = [where for where in left if reader.has_data(where)]
            for where in here:
                first, end = left.pop(where)
                records, at = await self._take(reader, where, first)
                if at < end:
                    left[where] = LogRange(at, end)
                if wanted := [record for record in records if record.offset < end]:
                    yield wanted
                give_up = self._clock.now() + self._patience_seconds
            if not here:
                await self._news(reader, give_up)

    async def _take(
        self, reader: PartitionReader, where: TopicPartition, first: int
    ) -> tuple[Sequence[Record], int]:
        """Some records from `first` on, and the next offset to read."""
        try:
            records = await reader.take(where, ENOUGH_RECORDS)
        except OffsetOutOfRangeError:
            begin = (await reader.ends([where], last=False))[where]
            if begin <= first:
                return (), sys.maxsize  # the log was cut before it
            reader.seek(where, begin)
            return (), begin
        except Exception as error:
            reader.seek(where, first)
            if reader.mend(where, error):
                return (), first
            why = explain_unreadable(error, where, first, span_of(error))
            raise TransportError(why.detail, why.problem.value) from error
        position = reader.position(where)
        return records, first if position is None else position

    async def _news(self, reader: PartitionReader, give_up: float) -> None:
        """Wait until something was fetched."""
        news = reader.news()
        try:
            in_time = await settled_within(self._clock, news, give_up - self._clock.now())
        finally:
            reader.no_more_news(news)
        if (failure := reader.failure()) is not None or not in_time:
            raise KafkaTimeoutError(failure or "nothing came in time")


def _in_both(
    ranges: Mapping[TopicPartition, LogRange], there: Mapping[TopicPartition, LogRange]
) -> dict[TopicPartition, LogRange]:
    both = {
        where: LogRange(max(first, there[where].first), min(end, there[where].end))
        for where, (first, end) in ranges.items()
        if where in there
    }
    return {where: span for where, span in both.items() if span.first < span.end}


def _as_given(position: Position) -> Position:
    """The position with the metadata of its committer alone."""
    return position._replace(metadata=unmarked(position.metadata)[0])


@contextmanager
def _telling(what: str, *, group: str = "", topic: str = "") -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        why = explain_membership(error, group, topic)
        raise TransportError(f"{what} cannot be read: {why.detail}", why.problem.value) from error
