"""What a promise of the bus is acted out on: buses on one broker, and beside them a witness of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import pytest
from confluent_kafka.admin._config import ConfigResource

from convex_messaging_fastapi import (
    ConvexMessage,
    DeadLetterMessage,
    MessageBus,
    MessagingSettings,
    Middleware,
    Observer,
)
from convex_messaging_fastapi.records import Headers, OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic
from convex_messaging_fastapi.transport.memory import MemoryBroker
from tests.promises.stage import News
from tests.support.independent import Independent
from tools.kafka.cluster import Cluster

T = TypeVar("T")

PLENTY = 10 * 1024 * 1024
"""The most that the witness sends in one record: more than any topic here takes."""


class Bet(ConvexMessage):
    bet_id: int
    player: str = "ada"


class Heard(Generic[T]):
    """What handlers were given, in the order in which they were given it, and a way to wait for it."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._news = News()

    def note(self, item: T) -> None:
        self.items.append(item)
        self._news.tell()

    async def until(self, count: int) -> list[T]:
        """Wait for so many; all that came."""
        await self._news.until(
            lambda: len(self.items) >= count, f"{count} messages; came: {self.items[-20:]}"
        )
        return self.items


class Witness(Protocol):
    """Reads and writes a broker beside the buses. Topics are names on the wire."""

    async def create(self, topic: str, partitions: int, config: Mapping[str, str]) -> None: ...

    async def write(self, where: TopicPartition, record: OutgoingRecord) -> int: ...

    async def read(self, topic: str) -> list[Record]: ...

    async def committed(self, group: str, topic: str) -> dict[int, int]: ...

    async def ends(self, topic: str) -> dict[int, int]: ...

    def limit(self, topic: str) -> int | None:
        """The topic's `max.message.bytes`; `None` where there is no such topic. Blocks."""
        ...


class MemoryWitness:
    """Looks into the memory broker itself."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker

    async def create(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        self.broker.ensure(NewTopic(topic, partitions, config=config))

    async def write(self, where: TopicPartition, record: OutgoingRecord) -> int:
        sent = self.broker.append(where, [record])
        assert sent.base_offset >= 0, sent
        return sent.base_offset

    async def read(self, topic: str) -> list[Record]:
        return self.broker.records(topic)

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        stored = self.broker.committed(group)
        return {where.partition: at.offset for where, at in stored.items() if where.topic == topic}

    async def ends(self, topic: str) -> dict[int, int]:
        return dict(enumerate(self.broker.end_offsets(topic)))

    def limit(self, topic: str) -> int | None:
        if not self.broker.end_offsets(topic):
            return None
        return self.broker.ensure(NewTopic(topic)).max_message_bytes


class KafkaWitness:
    """Uses confluent-kafka, which shares no code with ours."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._independent = Independent(cluster.bootstrap)

    async def create(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        await asyncio.to_thread(self.cluster.create_topic, topic, partitions, config=config)

    async def write(self, where: TopicPartition, record: OutgoingRecord) -> int:
        headers: list[tuple[str, str | bytes | None]] = list(record.headers)
        landed = await asyncio.to_thread(
            self._independent.write,
            where.topic,
            [record.value],
            key=record.key,
            headers=headers,
            partition=where.partition,
            settings={"message.max.bytes": PLENTY},
        )
        return landed[0][1]

    async def read(self, topic: str) -> list[Record]:
        seen = await asyncio.to_thread(self._independent.read, topic)
        return [Record(topic, *record) for record in seen]

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        found = await asyncio.to_thread(self._independent.committed, group, topic)
        return {partition: stored.offset for partition, stored in found.items()}

    async def ends(self, topic: str) -> dict[int, int]:
        return await asyncio.to_thread(self._independent.ends, topic)

    def limit(self, topic: str) -> int | None:
        if topic not in self.cluster.metadata().topics:
            return None
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        admin = self.cluster.admin()  # held, for an answer does not outlive its client
        described = admin.describe_configs([resource])[resource].result(10)
        return int(described["max.message.bytes"].value)


class Fleet:
    """Buses that share a broker, a prefix and a group; `cannot` as in `stage.Stage`."""

    def __init__(
        self, name: str, address: str, prefix: str, witness: Witness, cannot: Mapping[str, str]
    ) -> None:
        self.name = name
        self.address = address
        self.prefix = prefix
        self.group = f"{prefix}-bets"
        self.witness = witness
        self._cannot = cannot

    def needs(self, promise: str) -> None:
        """Skip a test of a promise that this transport does not make."""
        if promise in self._cannot:
            pytest.skip(f"{self.name} does not promise it: {self._cannot[promise]}")

    def settings(self, **choices: Any) -> MessagingSettings:
        usual: dict[str, Any] = {
            "bootstrap_servers": self.address,
            "topic_prefix": self.prefix,
            "consumer_group": self.group,
            "session_timeout_ms": 6000,
            "request_timeout_ms": 10_000,
            "revoke_drain_seconds": 3,
            "drain_timeout_seconds": 5,
            "shutdown_timeout_seconds": 10,
        }
        return MessagingSettings(**(usual | choices))

    def bus(
        self, *, middleware: Iterable[Middleware] = (), observers: Iterable[Observer] = (), **choices: Any
    ) -> MessageBus:
        return MessageBus(self.settings(**choices), middleware=middleware, observers=observers)

    def on_wire(self, topic: str) -> str:
        return f"{self.prefix}.{topic}"

    async def topic(self, name: str, partitions: int = 4, config: Mapping[str, str] | None = None) -> str:
        """Make a topic; its name on the wire."""
        await self.witness.create(self.on_wire(name), partitions, config or {})
        return self.on_wire(name)

    async def write(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int = 0,
    ) -> int:
        """Write what no bus of ours would; its offset."""
        where = TopicPartition(self.on_wire(topic), partition)
        return await self.witness.write(where, OutgoingRecord(key, value, headers))

    async def records(self, topic: str) -> list[Record]:
        return await self.witness.read(self.on_wire(topic))

    async def letters(self) -> list[DeadLetterMessage]:
        """Everything that was buried."""
        return [DeadLetterMessage.model_validate_json(r.value or b"") for r in await self.records("dlq")]

    async def all_is_committed(self, topic: str, group: str | None = None) -> bool:
        """Whether the committed offsets of every partition that holds a record equal its end."""
        ends = await self.witness.ends(self.on_wire(topic))
        committed = await self.witness.committed(group or self.group, self.on_wire(topic))
        return all(committed.get(partition) == end for partition, end in ends.items() if end)
