"""One consumer of the engine and the partitions that it reads, assigned by its group or by us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from inspect import unwrap
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as EnginePartition

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.records import MAX_HEADERS, Record, TopicPartition, kept_headers
from convex_messaging_fastapi.transport.kafka.engine.batches import (
    is_abort_marker,
    is_of_a_name,
    unpacking_at_most,
)
from convex_messaging_fastapi.transport.kafka.engine.connections import Client, TopicAnswer, end, failure_of

# Without what instrumentations wrap it in: OpenTelemetry's raises for a `traceparent` that is no text, and
# the partition would stand still before that record.
_getmany = unwrap(AIOKafkaConsumer.getmany)


class PartitionReader:
    """A consumer without automatic commits or deserialisers.

    Batches that unpack to more than `unpacked_bytes` are refused. What concerns its connections is asked of
    `client`.
    """

    def __init__(self, *, unpacked_bytes: int, anywhere: bool = False, **options: Any) -> None:
        self._unpacked_bytes = unpacked_bytes
        self._consumer = AIOKafkaConsumer(**options)
        self.client: Client = Client.adopt(self._consumer._client, anywhere=anywhere)
        self.client.unpacked_bytes = unpacked_bytes

    async def start(self) -> None:
        with self.client.ours():
            await self._consumer.start()

    async def stop(self, clock: Clock, deadline: float) -> None:
        """Close everything, by `deadline` even if no broker answers."""
        with self.client.ours():
            await end(clock, deadline, self._consumer.stop(), self._tasks(), self.client)

    def read_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions alone, from these offsets on. Not for a member of a group."""
        with self.client.ours():
            self._consumer.assign([EnginePartition(*where) for where in offsets])
        for where, offset in offsets.items():
            self.seek(where, offset)

    def failure(self) -> str | None:
        """Which part of the engine has died, and why; it never comes back by itself."""
        return failure_of("fetching", self._consumer._fetcher._fetch_task) or failure_of(
            "metadata", self.client.metadata_task
        )

    async def ask(self, topic: str) -> TopicAnswer:
        return await self.client.ask(topic)

    def has_data(self, where: TopicPartition) -> bool:
        return where in self._consumer._fetcher._records

    async def take(self, where: TopicPartition, limit: int) -> list[Record]:
        """Up to `limit` records that were fetched already; never waits while `delivering`.

        One partition a call: when the engine raises for one, it drops the records that the same call has
        taken from others.
        """
        make_ours(self._consumer._fetcher._records.get(where))
        with unpacking_at_most(self._unpacked_bytes):
            taken = await _getmany(self._consumer, EnginePartition(*where), max_records=limit)
        if taken and where in self.client.mending:
            self.client.mending -= {where}
        return [record for batch in taken.values() for record in batch]

    def mend(self, where: TopicPartition, error: Exception) -> bool:
        """Whether `error` is one that mending removes; then the next fetches are mended before they are read.

        Mending is slow, and ends once a record could be taken.
        """
        if not is_of_a_name(error) or where in self.client.mending:
            return False
        self.client.mending |= {where}
        return True

    def position(self, where: TopicPartition) -> int | None:
        """The next offset that `take` would return, if the log has it; it moves past gaps."""
        state = self._state(where)
        return state.position if state is not None and state.has_valid_position else None

    def end_seen(self, where: TopicPartition) -> int | None:
        """The end of the readable log at the last fetch; `None` before the first."""
        state = self._state(where)
        return state.lso if state is not None and state.lso is not None else None

    def answered(self, where: TopicPartition) -> int | None:
        """When a broker last answered a fetch of this partition without an error; only changes count."""
        state = self._state(where)
        return None if state is None else state.timestamp

    def is_led(self, where: TopicPartition) -> bool:
        """Whether a broker leads the partition by the last metadata."""
        leader = self.client.cluster.leader_for_partition(EnginePartition(*where))
        return leader is not None and leader >= 0

    def seek(self, where: TopicPartition, offset: int) -> None:
        with self.client.ours():
            self._consumer.seek(EnginePartition(*where), offset)

    def news(self) -> asyncio.Future[None]:
        """A future that is done when something was fetched; end it with `no_more_news`."""
        future: asyncio.Future[None] = self._consumer._fetcher._create_fetch_waiter()
        return future

    def no_more_news(self, news: asyncio.Future[None]) -> None:
        # Its error, if any, is raised by `poll` too.
        if not news.cancel() and not news.cancelled():
            news.exception()

    async def ends(self, wanted: Collection[TopicPartition], *, last: bool) -> dict[TopicPartition, int]:
        """The first offsets of the logs of `wanted` or, with `last`, their ends. Raises `KafkaError`."""
        partitions = [EnginePartition(*where) for where in wanted]
        ask = self._consumer.end_offsets if last else self._consumer.beginning_offsets
        with self.client.ours():
            found = await ask(partitions)
        return {TopicPartition(*where): offset for where, offset in found.items()}

    async def offsets_at(
        self, timestamp_ms: int, wanted: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """The first record of each that is not older, where there is one. Raises `KafkaError`."""
        with self.client.ours():
            found = await self._consumer.offsets_for_times(
                {EnginePartition(*where): timestamp_ms for where in wanted}
            )
        return {TopicPartition(*where): at.offset for where, at in found.items() if at is not None}

    def _state(self, where: TopicPartition) -> Any:
        subscription = self._consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return None if assignment is None else assignment.state_value(where)

    def _tasks(self) -> Iterable[asyncio.Task[Any] | None]:
        if (fetcher := self._consumer._fetcher) is not None:
            yield fetcher._fetch_task
            yield from fetcher._pending_tasks


def make_ours(fetched: Any) -> None:
    """Let the engine build our records from what it holds, and read markers as we do.

    Building its own records first would double the cost.
    """
    records = getattr(fetched, "_partition_records", None)
    if records is not None:
        records._consumer_record = _record
        records._contains_abort_marker = is_abort_marker


def _record(where: EnginePartition, record: Any) -> Record:
    timestamp, headers = record.timestamp, record.headers
    return _new_record(
        (
            where.topic,
            where.partition,
            record.offset,
            -1 if timestamp is None else timestamp,
            record.key,
            record.value,
            # Nearly all records have few, and need no call.
            tuple(headers) if len(headers) <= MAX_HEADERS else kept_headers(headers),
        )
    )


_new_record: Callable[[tuple[Any, ...]], Record] = partial(tuple.__new__, Record)
"""`Record(...)` in half the time: it runs for each record that is read."""
