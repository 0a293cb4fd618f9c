"""One consumer of the engine as a member of a group: membership, single commits, stored offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiokafka import ConsumerRebalanceListener

from convex_messaging_fastapi.clock import Clock, settled_within
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine.connections import TopicId, failure_of
from convex_messaging_fastapi.transport.kafka.engine.groups.commits import (
    Identity,
    Unstored,
    commit,
    identity_of,
)
from convex_messaging_fastapi.transport.kafka.engine.groups.ghosts import Coordinator, Ghosts
from convex_messaging_fastapi.transport.kafka.engine.groups.stored import stored_for
from convex_messaging_fastapi.transport.kafka.engine.partition_reader import PartitionReader


class Member(PartitionReader):
    """Reads the partitions that its group assigns to it.

    `ghosts` are the ids of earlier members of ours that the group may still count, and later this one's.
    """

    def __init__(self, *, ghosts: Ghosts, **options: Any) -> None:
        super().__init__(**options)
        self._ghosts = ghosts

    async def start(self) -> None:
        await super().start()
        Coordinator.adopt(self._consumer._coordinator, self._ghosts)

    def subscribe(
        self,
        topics: Iterable[str],
        listener: ConsumerRebalanceListener,
        *,
        optional: frozenset[str] = frozenset(),
    ) -> None:
        self.client.cluster.optional = optional
        with self.client.ours():
            self._consumer.subscribe([*topics, *optional], listener=listener)

    async def stop(self, clock: Clock, deadline: float) -> None:
        """Leave the group and close everything, by `deadline` even if no broker answers."""
        await super().stop(clock, deadline)
        if isinstance(self._consumer._coordinator, Coordinator):
            self._consumer._coordinator.remember()

    # What a supervisor looks at.

    def failure(self) -> str | None:
        """Which part of the engine has died, and why; it never comes back by itself."""
        coordinator = self._consumer._coordinator
        return (
            super().failure()
            or failure_of("group membership", coordinator._coordination_task)
            or _raised("heartbeats", coordinator._heartbeat_task)
            or _raised("committed offsets", coordinator._commit_refresh_task)
        )

    def needs_metadata(self) -> bool:
        """Whether metadata is wanted at once: a topic is unknown, or may have been made anew."""
        needed = self._consumer.subscription() - self.client.cluster.optional
        return self.client.topic_ids.unsure or bool(self.missing(needed))

    def missing(self, topics: Iterable[str]) -> list[str]:
        """Which of `topics` the last metadata does not know."""
        return [topic for topic in topics if not self.client.partitions(topic)]

    async def follow(self, topic: str) -> None:
        """Learn where a topic is that is not read here, now and with later metadata; it may be missing.

        While it is, nothing else is asked: new metadata would have the group look at all its topics again.
        """
        if (await self.client.ask(topic)).exists:
            self.client.cluster.optional |= {topic}
            await self.client.follow(topic)

    def topic_id(self, topic: str) -> TopicId | None:
        """The id of the topic that has this name now; `None` if it is not known."""
        return self.client.topic_ids.of(topic)

    def was_replaced(self, topic_id: TopicId) -> bool:
        """Whether this topic is known to have been replaced by another of the same name."""
        return self.client.topic_ids.was_replaced(topic_id)

    async def learn(self, clock: Clock, seconds: float) -> bool:
        """Request metadata from whichever broker answers; whether one did within `seconds`."""
        until = clock.now() + seconds
        for _ in range(2):
            update = self.client.force_metadata_update()
            if not await settled_within(clock, update, until - clock.now()) or not update.result():
                return False
            if not self.client.topic_ids.unsure:
                break
        return True

    # Membership.

    @property
    def identity(self) -> Identity:
        return identity_of(self._consumer._coordinator)

    @property
    def joined(self) -> bool:
        return self.identity.generation > 0

    def poll(self) -> None:
        """Count as polling, and raise the `KafkaError` that the engine keeps for whoever polls."""
        # Not `getmany()`: without partitions it takes from all, and waits through a rebalance.
        self._consumer._coordinator.check_errors()
        with self._consumer._subscription.fetch_context():
            pass

    def seconds_since_heartbeat(self) -> float:
        """Seconds for which the group may not have heard of this member."""
        return self.client.seconds_since_heartbeat()

    def reconnect(self) -> None:
        """Make new connections, since the old ones may be dead without a sign, and join the group again.

        A commit under way on an old connection could be stored after a later one, and so move the committed
        offset back. The group refuses it if joining made a new generation; a follower may keep its old one.
        """
        self.client.close_connections()
        self._consumer._coordinator.request_rejoin()

    def rejoin_as_new_member(self) -> None:
        """Join the group as a new member, over new connections.

        A member that comes back under its old id may get its partitions back within the old session, lose
        them at once without a sign, and have an old commit stored after a later one.
        """
        self.reconnect()
        self._consumer._coordinator.reset_generation()

    # Records.

    @property
    def delivering(self) -> bool:
        """Whether records may be taken: not while a rebalance is under way."""
        subscription = self._consumer._subscription
        return not subscription.reassignment_in_progress

    # Offsets.

    async def commit(self, offsets: Mapping[TopicPartition, Position], who: Identity) -> Unstored:
        """One attempt to store `offsets` in the name of `who`; the caller cancels it when it is late.

        Returns why some were not stored; the others were. Raises `NotStored`, or `KafkaError` when no answer
        came.
        """
        with self.client.ours():
            return await commit(self._consumer._coordinator, offsets, who)

    async def committed(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, Position]:
        """One attempt to read what the group has stored; partitions without a commit are left out.

        Raises `KafkaError`, also for a partition that the coordinator does not know *yet*.
        """
        with self.client.ours():
            return await stored_for(self._consumer._coordinator, wanted)

    def _tasks(self) -> Iterable[asyncio.Task[Any] | None]:
        yield from super()._tasks()
        if (coordinator := self._consumer._coordinator) is not None:
            yield coordinator._coordination_task
            yield coordinator._heartbeat_task
            yield coordinator._commit_refresh_task


def _raised(name: str, task: asyncio.Task[Any] | None) -> str | None:
    """As `failure_of`, for a task that may end without an error."""
    if task is None or not task.done() or task.cancelled() or task.exception() is None:
        return None
    return failure_of(name, task)
