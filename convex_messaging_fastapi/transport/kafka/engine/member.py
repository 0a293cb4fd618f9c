"""One consumer of the engine that belongs to one group, with the words a careful owner needs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as EnginePartition
from aiokafka.errors import KafkaError, NoError, UnknownTopicOrPartitionError
from aiokafka.protocol.commit import OffsetFetchRequest

from convex_messaging_fastapi.clock import Clock, settled_within
from convex_messaging_fastapi.records import MAX_HEADERS, Record, TopicPartition, kept_headers
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine.client import Client, end, failure_of
from convex_messaging_fastapi.transport.kafka.engine.codes import for_code
from convex_messaging_fastapi.transport.kafka.engine.commits import Identity, Unstored, commit, identity_of
from convex_messaging_fastapi.transport.kafka.engine.ghosts import Coordinator, Ghosts
from convex_messaging_fastapi.transport.kafka.engine.identities import TopicId
from convex_messaging_fastapi.transport.kafka.engine.markers import is_abort_marker
from convex_messaging_fastapi.transport.kafka.engine.names import is_of_a_name
from convex_messaging_fastapi.transport.kafka.engine.unpacking import unpacking_at_most

UNKNOWN_OFFSET = -1


class Member:
    """A consumer without automatic commits, deserialisers or topics of its own.

    Batches that unpack to more than `unpacked_bytes` are refused. `ghosts` are what is left in the
    group of members before it, and may be left of this one.
    """

    def __init__(
        self, *, unpacked_bytes: int, ghosts: Ghosts, anywhere: bool = False, **options: Any
    ) -> None:
        self._unpacked_bytes = unpacked_bytes
        self._ghosts = ghosts
        self._consumer = AIOKafkaConsumer(**options)
        self._client = Client.adopt(self._consumer._client, anywhere=anywhere)
        self._client.unpacked_bytes = unpacked_bytes

    async def start(self) -> None:
        with self._client.ours():
            await self._consumer.start()
        Coordinator.adopt(self._consumer._coordinator, self._ghosts)

    def subscribe(self, topics: Iterable[str], listener: ConsumerRebalanceListener) -> None:
        with self._client.ours():
            self._consumer.subscribe(list(topics), listener=listener)

    async def stop(self, clock: Clock, deadline: float) -> None:
        """Leave the group and close everything, by `deadline` even if no broker answers."""
        with self._client.ours():
            await end(clock, deadline, self._consumer.stop(), self._tasks(), self._client)
        if isinstance(self._consumer._coordinator, Coordinator):
            self._consumer._coordinator.remember()

    # What a supervisor looks at.

    def failure(self) -> str | None:
        """Which part of the engine has died, and why; it never comes back by itself."""
        fetcher, coordinator = self._consumer._fetcher, self._consumer._coordinator
        return (
            failure_of("fetching", fetcher._fetch_task)
            or failure_of("group membership", coordinator._coordination_task)
            or failure_of("metadata", self._client.metadata_task)
            or _raised("heartbeats", coordinator._heartbeat_task)
            or _raised("committed offsets", coordinator._commit_refresh_task)
        )

    def silence(self) -> float | None:
        return self._client.silence()

    @property
    def refused(self) -> bool:
        return self._client.refused

    def poke(self) -> None:
        self._client.poke()

    def chase(self, seconds: float) -> None:
        self._client.chase(seconds)

    def unreachable(self) -> dict[int, str]:
        return self._client.unreachable()

    def coordinator_sought(self) -> tuple[float, str] | None:
        return self._client.coordinator_sought()

    def refused_topics(self, topics: Iterable[str]) -> dict[str, type[KafkaError]]:
        return self._client.refused_topics(topics)

    def curious(self) -> bool:
        """Whether metadata cannot come soon enough: a topic is not known yet, or is said to be another."""
        return self._client.identities.unsure or bool(self.missing(self._consumer.subscription()))

    def missing(self, topics: Iterable[str]) -> list[str]:
        """Which of `topics` the last metadata does not know."""
        return [topic for topic in topics if not self._client.partitions(topic)]

    def topic_id(self, topic: str) -> TopicId | None:
        """Which topic that name stands for now, or `None` where it is not known."""
        return self._client.identities.of(topic)

    def is_gone(self, topic_id: TopicId) -> bool:
        """Whether a topic is known to have been replaced by another of its name."""
        return self._client.identities.is_gone(topic_id)

    async def learn(self, clock: Clock, seconds: float) -> bool:
        """Hear of topics and their leaders from whichever broker answers; whether one did so in time."""
        until = clock.now() + seconds
        for _ in range(2):
            update = self._client.force_metadata_update()
            if not await settled_within(clock, update, until - clock.now()) or not update.result():
                return False
            if not self._client.identities.unsure:
                break
        return True

    # Membership.

    @property
    def identity(self) -> Identity:
        return identity_of(self._consumer._coordinator)

    @property
    def joined(self) -> bool:
        return self.identity.generation > 0

    def look_alive(self) -> None:
        """Count as polling, and raise what the engine's membership has to say.

        Raises `KafkaError`.
        """
        # `getmany()` with nothing wanted means *all*, and waits through a rebalance.
        self._consumer._coordinator.check_errors()
        with self._consumer._subscription.fetch_context():
            pass

    def unheard(self) -> float:
        """Seconds for which the group may not have heard of this member."""
        return self._client.unheard()

    def hang_up(self) -> None:
        """Make new connections, for the old ones may lead nowhere without saying so, and join anew.

        A commit that is still under way on an old one could land over a later one, and so move back
        what is committed; where joining makes a new generation, it is refused. A follower may be
        given the old one again.
        """
        self._client.hang_up()
        self._consumer._coordinator.request_rejoin()

    def join_as_another(self) -> None:
        """Forget who we were in the group, and join it anew over new connections.

        Whoever comes back as himself may get his partitions back without a new session, and lose
        them at once without a word; and a commit of before could still land over a later one.
        """
        self.hang_up()
        self._consumer._coordinator.reset_generation()

    # Records.

    @property
    def delivering(self) -> bool:
        """Whether records may be taken: not while a rebalance is under way."""
        subscription = self._consumer._subscription
        return not subscription.reassignment_in_progress

    def has_data(self, where: TopicPartition) -> bool:
        return where in self._consumer._fetcher._records

    async def take(self, where: TopicPartition, limit: int) -> list[Record]:
        """Up to `limit` records that are here already; never waits while `delivering`.

        One partition a call, for what the engine raises of one partition throws away the records
        that the same call has taken from others.
        """
        make_ours(self._consumer._fetcher._records.get(where))
        with unpacking_at_most(self._unpacked_bytes):
            taken = await self._consumer.getmany(EnginePartition(*where), max_records=limit)
        if taken and where in self._client.mending:
            self._client.mending -= {where}
        return [record for batch in taken.values() for record in batch]

    def mend(self, where: TopicPartition, error: Exception) -> bool:
        """Whether what is fetched next may be readable where `error` was raised: it is mended first.

        Only until something could be taken, for mending is slow.
        """
        if not is_of_a_name(error) or where in self._client.mending:
            return False
        self._client.mending |= {where}
        return True

    def position(self, where: TopicPartition) -> int | None:
        """The next offset that `take` would answer with, if the log has it; passes gaps."""
        state = self._state(where)
        return state.position if state is not None and state.has_valid_position else None

    def end_seen(self, where: TopicPartition) -> int | None:
        """Where the readable log ended when it was last fetched from."""
        state = self._state(where)
        return state.lso if state is not None and state.lso is not None else None

    def answered(self, where: TopicPartition) -> int | None:
        """When a broker last answered a fetch of this partition well; only changes mean anything."""
        state = self._state(where)
        return None if state is None else state.timestamp

    def is_led(self, where: TopicPartition) -> bool:
        """Whether some broker leads the partition, as far as is known."""
        leader = self._client.cluster.leader_for_partition(EnginePartition(*where))
        return leader is not None and leader >= 0

    def seek(self, where: TopicPartition, offset: int) -> None:
        with self._client.ours():
            self._consumer.seek(EnginePartition(*where), offset)

    def news(self) -> asyncio.Future[None]:
        """A future that is done when something was fetched; give it to `no_more_news`."""
        future: asyncio.Future[None] = self._consumer._fetcher._create_fetch_waiter()
        return future

    def no_more_news(self, news: asyncio.Future[None]) -> None:
        # What it may have ended with is what `look_alive` raises too.
        if not news.cancel() and not news.cancelled():
            news.exception()

    # Offsets.

    async def commit(self, offsets: Mapping[TopicPartition, Position], who: Identity) -> Unstored:
        """One attempt to store `offsets` in the name of `who`; to be cancelled when it is late.

        Answers why some were not stored; the others were. Raises `NotStored`, or `KafkaError` where
        no answer came.
        """
        with self._client.ours():
            return await commit(self._consumer._coordinator, offsets, who)

    async def committed(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, Position]:
        """What the group has stored, one attempt; partitions without a commit are left out.

        Raises `KafkaError`, also for a partition the coordinator does not know *yet*: the engine
        takes that for a partition without a commit and starts at its end.
        """
        coordinator = self._consumer._coordinator
        by_topic = defaultdict(list)
        for topic, partition in wanted:
            by_topic[topic].append(partition)
        with self._client.ours():
            await coordinator.ensure_coordinator_known()
            request = OffsetFetchRequest(coordinator.group_id, list(by_topic.items()))
            answer = await coordinator._send_req(request)
            _refuse(getattr(answer, "error_code", 0), coordinator)
            return dict(_stored(answer.topics, coordinator))

    async def ends(self, wanted: Collection[TopicPartition], *, last: bool) -> dict[TopicPartition, int]:
        """Where the logs of `wanted` begin or, for `last`, end. Raises `KafkaError`."""
        partitions = [EnginePartition(*where) for where in wanted]
        ask = self._consumer.end_offsets if last else self._consumer.beginning_offsets
        with self._client.ours():
            found = await ask(partitions)
        return {TopicPartition(*where): offset for where, offset in found.items()}

    def _state(self, where: TopicPartition) -> Any:
        subscription = self._consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return None if assignment is None else assignment.state_value(where)

    def _tasks(self) -> Iterable[asyncio.Task[Any] | None]:
        fetcher, coordinator = self._consumer._fetcher, self._consumer._coordinator
        if fetcher is not None:
            yield fetcher._fetch_task
            yield from fetcher._pending_tasks
        if coordinator is not None:
            yield coordinator._coordination_task
            yield coordinator._heartbeat_task
            yield coordinator._commit_refresh_task


def make_ours(fetched: Any) -> None:
    """Let the engine make records of ours from what it holds, and read markers as we do.

    Making its own records first doubles the cost.
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
            # Nearly all have few, and are spared the call.
            tuple(headers) if len(headers) <= MAX_HEADERS else kept_headers(headers),
        )
    )


_new_record: Callable[[tuple[Any, ...]], Record] = partial(tuple.__new__, Record)
"""As `Record(...)` in half its time: each record that is read pays for it."""


def _stored(topics: Any, coordinator: Any) -> Iterable[tuple[TopicPartition, Position]]:
    for topic, partitions in topics:
        for partition, offset, metadata, code in partitions:
            _refuse(code, coordinator)
            if offset != UNKNOWN_OFFSET:
                yield TopicPartition(topic, partition), Position(offset, metadata or "")


def _refuse(code: int, coordinator: Any) -> None:
    error = for_code(code)
    if error is NoError:
        return
    # Any other answer than these comes from a broker that is not, or not yet, the coordinator.
    if error.retriable and error is not UnknownTopicOrPartitionError:
        coordinator.coordinator_dead()
    raise error()


def _raised(name: str, task: asyncio.Task[Any] | None) -> str | None:
    """Like `failure_of`, for a task that may end in peace."""
    if task is None or not task.done() or task.cancelled() or task.exception() is None:
        return None
    return failure_of(name, task)
