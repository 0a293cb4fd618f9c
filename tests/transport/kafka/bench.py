"""What the tests of the Kafka transport hold: transports, buses, a listener that remembers, ways to wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.records import OutgoingRecord, Record, TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Fetched, Position
from convex_messaging_fastapi.transport.kafka.consumer.consumer import KafkaConsumer
from convex_messaging_fastapi.transport.kafka.producer.producer import KafkaProducer
from convex_messaging_fastapi.transport.kafka.transport import KafkaTransport
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

# The mock rewrites batches without their checksum, and does not wake a waiting fetch.
ON_THE_WIRE: dict[str, Any] = {"check_crcs": False, "fetch_max_wait_ms": 20}
IMPATIENT: dict[str, Any] = {
    "look_every_seconds": 0.05,
    "ask_after_seconds": 0.2,
    "explain_after_seconds": 0.4,
    "retry_seconds": 0.05,
    "retry_cap_seconds": 0.2,
    "refused_retry_seconds": 0.3,
    "probe_seconds": 2.0,
    "stop_seconds": 1.0,
    "partition_pause_seconds": 0.1,
    "complaint_seconds": 1.0,
}
# A broker answers what comes on one connection in turn: a question waits behind a fetch that waits for
# records. Less patience than that takes an idle cluster for a silent one, and whoever holds it joins anew.
ON_REAL_KAFKA: dict[str, Any] = {"ask_after_seconds": 0.7, "explain_after_seconds": 2.0}
SECONDS = 10.0
"""How long a test waits for what must happen."""


class Listener:
    """Remembers what it was told; `on_revoked` runs inside a revocation."""

    def __init__(self) -> None:
        self.assignments: list[tuple[int, dict[TopicPartition, Position]]] = []
        self.revocations: list[tuple[int, float]] = []
        self.on_revoked: Callable[[int, float], Any] | None = None

    def assigned(self, epoch: int, positions: Mapping[TopicPartition, Position]) -> None:
        self.assignments.append((epoch, dict(positions)))

    async def revoked(self, epoch: int, deadline: float) -> None:
        self.revocations.append((epoch, deadline))
        if self.on_revoked is not None:
            await self.on_revoked(epoch, deadline)

    @property
    def held(self) -> dict[TopicPartition, Position]:
        return self.assignments[-1][1] if self.assignments else {}


class Reader:
    """A consumer and everything it was given so far."""

    def __init__(self, consumer: KafkaConsumer, listener: Listener) -> None:
        self.consumer, self.listener = consumer, listener
        self.records: list[Record] = []
        self.positions: dict[TopicPartition, int] = {}
        self.epoch = 0

    async def fetch(self, wait: float = 0.1, share: int = 100) -> Fetched:
        fetched = await self.consumer.fetch(dict.fromkeys(self.listener.held, share), wait)
        self.epoch = fetched.epoch
        self.records += [record for batch in fetched.records.values() for record in batch]
        self.positions |= fetched.positions
        return fetched

    async def until(self, condition: Callable[[], object], what: str, within: float = SECONDS) -> None:
        """Keep on fetching until the condition holds."""
        clock = SystemClock()
        end = clock.now() + within
        while not condition():
            if clock.now() > end:
                raise TimeoutError(f"waited {within:g} s for {what}; {self.consumer.contact()}")
            await self.fetch(0.05)

    async def read(self, count: int) -> list[bytes | None]:
        await self.until(lambda: len(self.records) >= count, f"{count} records")
        return [record.value for record in self.records]

    async def commit(self, offsets: Mapping[TopicPartition, int], seconds: float = 2.0) -> CommitOutcome:
        """What became of all of them, which must be the same."""
        (outcome,) = set((await self.outcomes(offsets, seconds)).values())
        return outcome

    async def outcomes(
        self, offsets: Mapping[TopicPartition, int], seconds: float = 2.0, metadata: str = ""
    ) -> Mapping[TopicPartition, CommitOutcome]:
        positions = {where: Position(offset, metadata) for where, offset in offsets.items()}
        return await self.consumer.commit(self.epoch, positions, SystemClock().now() + seconds)


class Bench:
    """Everything made here is stopped at the end of the test."""

    def __init__(self, bootstrap: str, *, real: bool = False) -> None:
        self._bootstrap, self._real = bootstrap, real
        self.clock = SystemClock()
        self._made: list[KafkaProducer | KafkaConsumer] = []

    def transport(self, **choices: Any) -> KafkaTransport:
        bench = ON_REAL_KAFKA if self._real else ON_THE_WIRE
        tuning = Tuning(**(IMPATIENT | bench | choices.pop("tuning", {})))
        chosen = settings(self._bootstrap, real=self._real, **choices)
        return KafkaTransport(chosen, self.clock, tuning=tuning)

    async def producer(self, **choices: Any) -> KafkaProducer:
        producer = self.transport(**choices).producer()
        self._made.append(producer)
        await producer.start()
        return producer

    async def reader(
        self, *topics: str, group: str = "readers", optional: Sequence[str] = (), **choices: Any
    ) -> Reader:
        consumer = self.transport(**choices).consumer(group)
        self._made.append(consumer)
        listener = Listener()
        await consumer.start(topics if topics or optional else ("orders",), listener, optional)
        return Reader(consumer, listener)

    async def write(self, *values: bytes, topic: str = "orders", partition: int = 0) -> None:
        """Write these with a producer of their own."""
        producer = await self.producer()
        await producer.send(TopicPartition(topic, partition), records(*values))
        await producer.stop(self.clock.now() + 2)

    async def close(self) -> None:
        for made in self._made:
            await made.stop(self.clock.now() + 2)


def settings(bootstrap: str, *, real: bool = False, **choices: Any) -> MessagingSettings:
    usual: dict[str, Any] = {
        "bootstrap_servers": bootstrap,
        "client_id": "test",
        "request_timeout_ms": 2000,
        "session_timeout_ms": 6000,
        "revoke_drain_seconds": 2,
    }
    chosen = MessagingSettings(**(usual | choices))
    # The mock holds up a group for a session when a member comes; no Kafka takes one this short.
    return chosen if real else chosen.model_copy(update={"session_timeout_ms": 2000})


def bus_over(bootstrap_servers: str, group: str, **choices: Any) -> MessageBus:
    """A bus whose topics are called in the cluster as they are here."""
    usual: dict[str, Any] = {"topic_prefix": "", "consumer_group": group}
    return MessageBus(MessagingSettings(bootstrap_servers=bootstrap_servers, **(usual | choices)))


def records(*values: bytes) -> list[OutgoingRecord]:
    return [OutgoingRecord(None, value) for value in values]
