"""The way to the memory broker's logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Contact, NewTopic, Problem, Sent, Verdict
from convex_messaging_fastapi.transport.memory.broker import MemoryBroker


class MemoryProducer:
    """Implements `ProducerTransport`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._stopped = False

    async def start(self) -> None:
        self._stopped = False

    async def stop(self, deadline: float) -> None:
        self._stopped = True
        self._broker.ring()

    def contact(self) -> Contact:
        return contact(self._broker, member=True)

    async def partition_count(self, topic: str) -> int:
        if not await self._within_reach():
            raise TopicUnavailable(
                f"topic {topic!r} cannot be used: the producer was stopped", "publish it after the next start"
            )
        return len(self._broker.ensure(NewTopic(topic)).logs)

    async def send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        if not await self._within_reach():
            return Sent(len(records), Verdict.FAILED, reason="the producer was stopped")
        return self._broker.append(where, records)

    def send_now(
        self, where: TopicPartition, record: OutgoingRecord, answered: Callable[[Sent], None]
    ) -> bool:
        return False  # there is no wire whose answers an early start would bring sooner

    def complaint(self, where: TopicPartition) -> str:
        return ""  # it takes what it takes at once

    async def _within_reach(self) -> bool:
        """Wait for the broker as long as it takes; `False` once stopped."""
        # A turn for others, as any acknowledgement over a wire would give them.
        await asyncio.sleep(0)
        with self._broker.bell() as bell:
            while self._broker.is_down and not self._stopped:
                bell.quiet()
                await bell.wait(self._broker.clock)
        return not self._stopped


def contact(broker: MemoryBroker, *, member: bool) -> Contact:
    """What producers and consumers alike know of the broker."""
    problem = Problem.BROKER_UNREACHABLE if broker.is_down else None
    return Contact(broker.last_contact(), member, problem)
