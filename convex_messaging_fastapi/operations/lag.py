"""How far groups are behind: what is not committed, what is not finished, and how old it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.assignment import OwnedPartition, Seen
from convex_messaging_fastapi.errors import ConfigurationError, TransportError
from convex_messaging_fastapi.machine import Machine
from convex_messaging_fastapi.parts import Parts
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS, LogRange

SHARED_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How far one group is behind in one partition.

    `committed` is the next offset that the group has stored, `None` where it has stored none; `end` is where
    the log ended. `lag` is their difference, as every Kafka tool shows it: a group commits every few
    seconds, so it is seldom 0 while messages come. `backlog` is how many messages are not finished, `None`
    for partitions of other processes. `time_lag_seconds` is the age of the first record that is not
    committed: 0 where there is none, `None` where it cannot be told. Offsets count what a log has no record
    for as well, such as the ends of transactions.
    """

    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int | None
    backlog: int | None = None
    time_lag_seconds: float | None = None


class Lags:
    """Asks the cluster only when somebody asks here, and at most every five seconds for the same."""

    def __init__(self, parts: Parts, machine: Machine | None) -> None:
        self._clock: Clock = parts.clock
        self._logs, self._machine = parts.transport.log_reader(few=True), machine
        self._groups = parts.transport.groups()
        self._one_at_a_time = asyncio.Lock()
        self._known: dict[str | None, tuple[float, tuple[PartitionLag, ...]]] = {}

    async def lag(self, group: str | None) -> tuple[PartitionLag, ...]:
        """See `Operations.lag`."""
        async with self._one_at_a_time:
            now = self._clock.now()
            fresh = {key: each for key, each in self._known.items() if now - each[0] < SHARED_SECONDS}
            if group not in fresh:
                told = await (self._own() if group is None else self._of(group))
                fresh[group] = now, tuple(sorted(told, key=_order))
            self._known = fresh
            return fresh[group][1]

    async def _own(self) -> list[PartitionLag]:
        if self._machine is None:
            raise ConfigurationError("name a group: no bus runs here whose partitions could be meant")
        found: list[tuple[OwnedPartition, PartitionLag]] = []
        for worker in self._machine.workers:
            owned = tuple(worker.partitions)
            ends = await worker.transport.ends([each.topic_partition for each in owned]) if owned else None
            for each in owned:
                if (end := (ends or {}).get(each.topic_partition)) is not None:
                    found.append((each, _of_own(worker.group, each, end)))
        told = await self._with_times(lag for _, lag in found)
        now = self._clock.now()
        for (each, _), lag in zip(found, told, strict=True):
            each.seen = Seen(now, lag.end, lag.time_lag_seconds)  # for the status, which asks nobody
        return told

    async def _of(self, group: str) -> list[PartitionLag]:
        """As the cluster sees it: of what it has committed, and of all that its members read."""
        committed = await self._logs.committed(group)
        members = (await self._groups.describe(group)).members
        topics = {where.topic for where in committed} | {topic for each in members for topic in each.topics}
        found: list[PartitionLag] = []
        for topic in sorted(topics):
            for where, (_, end) in (await self._logs.ranges(topic)).items():
                stored = committed.get(where)
                offset = None if stored is None else stored.offset
                lag = None if offset is None else max(0, end - offset)
                found.append(PartitionLag(group=group, **where._asdict(), committed=offset, end=end, lag=lag))
        return await self._with_times(found)

    async def _with_times(self, found: Iterable[PartitionLag]) -> list[PartitionLag]:
        told = list(found)
        behind = {
            TopicPartition(each.topic, each.partition): LogRange(each.committed, each.end)
            for each in told
            if each.lag and each.committed is not None
        }
        try:
            times = await self._times(behind)
        except TransportError:
            times = {}  # the right to read a topic is not needed for its lag
        return [replace(each, time_lag_seconds=self._age(each, times)) for each in told]

    def _age(self, each: PartitionLag, times: Mapping[TopicPartition, int]) -> float | None:
        if each.lag == 0:
            return 0.0
        timestamp_ms = times.get(TopicPartition(each.topic, each.partition))
        return None if timestamp_ms is None else max(0.0, self._clock.unix() - timestamp_ms / 1000)

    async def _times(self, behind: Mapping[TopicPartition, LogRange]) -> Mapping[TopicPartition, int]:
        """The timestamp of the first record of each range."""
        times: dict[TopicPartition, int] = {}
        for most in (1, ENOUGH_RECORDS):  # nearly always it stands where the range begins
            left = {
                where: LogRange(first, min(first + most, end))
                for where, (first, end) in behind.items()
                if where not in times
            }
            async with aclosing(self._logs.read(left)) as lists:
                async for records in lists:
                    times.setdefault(records[0].topic_partition, records[0].timestamp_ms)
        return times


def _of_own(group: str, owned: OwnedPartition, end: int) -> PartitionLag:
    ledger = owned.ledger
    end = max(end, ledger.position)  # it may have been read past since the answer
    return PartitionLag(
        group=group,
        **owned.topic_partition._asdict(),
        committed=ledger.committed,
        end=end,
        lag=end - ledger.committed,
        backlog=end - ledger.position + ledger.unfinished,
    )


def _order(each: PartitionLag) -> tuple[str, str, int]:
    return each.group, each.topic, each.partition
