"""The memory broker as a transport: what one bus needs."""

from __future__ import annotations

from typing import Literal

from convex_messaging_fastapi.errors import TopicUnavailable, TransportError
from convex_messaging_fastapi.transport.base import GroupDescription, NewTopic
from convex_messaging_fastapi.transport.memory.broker import MemoryBroker
from convex_messaging_fastapi.transport.memory.consumer import MemoryConsumer
from convex_messaging_fastapi.transport.memory.groups import Terms
from convex_messaging_fastapi.transport.memory.log_reader import MemoryLogReader
from convex_messaging_fastapi.transport.memory.producer import MemoryProducer
from convex_messaging_fastapi.transport.memory.transactional import MemoryTransactional

_MORE_THAN_THE_DRAIN = 10.0


class MemoryTransport:
    """Implements `Transport`. Seconds are on the broker's clock.

    A member has `revoke_drain_seconds` to let go of its partitions, and 10 more until the group
    goes on without it; one that does not fetch for `session_seconds` is taken for gone.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        auto_offset_reset: Literal["earliest", "latest"] = "earliest",
        revoke_drain_seconds: float = 5.0,
        session_seconds: float = 30.0,
    ) -> None:
        self._broker = broker
        self._terms = Terms(
            from_latest=auto_offset_reset == "latest",
            drain_seconds=revoke_drain_seconds,
            rebalance_seconds=revoke_drain_seconds + _MORE_THAN_THE_DRAIN,
            session_seconds=session_seconds,
        )

    def producer(self) -> MemoryProducer:
        return MemoryProducer(self._broker)

    def consumer(self, group: str) -> MemoryConsumer:
        return MemoryConsumer(self._broker, group, self._terms)

    def admin(self) -> MemoryAdmin:
        return MemoryAdmin(self._broker)

    def log_reader(self, *, uncommitted: bool = False, few: bool = False) -> MemoryLogReader:
        return MemoryLogReader(self._broker)  # nothing of ours is uncommitted where it must not be

    def groups(self) -> MemoryGroups:
        return MemoryGroups(self._broker)

    def transactional(self, id: str, timeout_seconds: float) -> MemoryTransactional:
        return MemoryTransactional(self._broker, id, timeout_seconds)


class MemoryAdmin:
    """Implements `AdminTransport`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def ensure_topic(self, topic: NewTopic) -> None:
        if self._broker.is_down:
            raise TopicUnavailable(f"topic {topic.name!r} could not be created: the memory broker is down")
        self._broker.ensure(topic)

    async def largest_message(self, topic: str) -> int | None:
        return None if self._broker.is_down else self._broker.largest_message(topic)

    async def retention_ms(self, topic: str) -> int | None:
        """It forgets nothing while it lives."""
        return -1


class MemoryGroups:
    """Implements `GroupsTransport`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def names(self) -> frozenset[str]:
        return frozenset(name for name in self._broker.group_names() if self._described(name).state != "Dead")

    async def describe(self, group: str) -> GroupDescription:
        return self._described(group)

    def _described(self, name: str) -> GroupDescription:
        if self._broker.is_down:
            raise TransportError("no group can be described: the memory broker is down")
        with self._broker.group(name) as group:
            return group.describe(client_id="memory")
