"""Creates a missing topic when it is first written to, if the settings ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import (
    AdminTransport,
    Contact,
    NewTopic,
    ProducerTransport,
    Sent,
)


class CreatingProducer:
    """Implements `ProducerTransport` over another one. `describe` says how to create a topic."""

    def __init__(
        self, producer: ProducerTransport, admin: AdminTransport, describe: Callable[[str], NewTopic]
    ) -> None:
        self._producer = producer
        self._admin = admin
        self._describe = describe

    async def start(self) -> None:
        await self._producer.start()

    async def partition_count(self, topic: str) -> int:
        """As the other one's, but a missing topic is created first."""
        try:
            return await self._producer.partition_count(topic)
        except TopicUnavailable:
            await self._admin.ensure_topic(self._describe(topic))
            return await self._producer.partition_count(topic)

    async def send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        return await self._producer.send(where, records)

    def send_now(
        self, where: TopicPartition, record: OutgoingRecord, answered: Callable[[Sent], None]
    ) -> bool:
        return self._producer.send_now(where, record, answered)

    def complaint(self, where: TopicPartition) -> str:
        return self._producer.complaint(where)

    async def stop(self, deadline: float) -> None:
        await self._producer.stop(deadline)

    def contact(self) -> Contact:
        return self._producer.contact()
