"""A key that makes trouble costs its own partition, on a real Kafka and with nothing set but the address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from convex_messaging_fastapi import Delivery, MessageBus, MessagingSettings, Retry
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

HOT, HOT_RECORDS = "hot", 10_500
OTHERS = 1_000
SECONDS = 3.0
"""So soon those on other partitions are handled."""
TAKEN = 2_000
"""Of the troublesome key, before the others come."""

TROUBLES: dict[str, dict[str, Any]] = {
    "it fails": {},
    "it is slow": {},
    "it is held": {"dead_letter": "hold", "retry": Retry(attempts=2, delay_seconds=3)},
}
"""What is declared with the handler in each case."""


class Service:
    """A bus with a handler of two topics, and how many it handled of each partition."""

    def __init__(self, cluster: Cluster, name: str, trouble: str) -> None:
        self.bus = MessageBus(
            MessagingSettings(bootstrap_servers=cluster.bootstrap, topic_prefix=name, consumer_group=name)
        )
        self.handled: set[tuple[str, int, int]] = set()
        self._slow = trouble == "it is slow"
        self._over = asyncio.Event()
        self.bus.subscriber("busy", "calm", **TROUBLES[trouble])(self._handle)

    async def _handle(self, message: dict[str, Any], delivery: Delivery) -> None:
        if delivery.key == HOT.encode():
            if not self._slow:
                raise ConnectionError("the tenant's own account is broken")
            await self._over.wait()
        self.handled.add((delivery.topic, delivery.partition, delivery.offset))

    def taken(self, topic: str) -> int:
        """The highest position of any partition of a topic."""
        (worker,) = self.bus.status().workers
        return max((p.position for p in worker.partitions if p.topic == topic), default=0)

    def holds(self) -> bool:
        """Whether a partition waits for somebody to mend something."""
        (worker,) = self.bus.status().workers
        return any(partition.held for partition in worker.partitions)

    def let_go(self) -> None:
        self._over.set()


@asynccontextmanager
async def at_work(cluster: Cluster, name: str, trouble: str) -> AsyncIterator[Service]:
    for topic in ("busy", "calm", "dlq"):
        await asyncio.to_thread(cluster.create_topic, f"{name}.{topic}")
    service = Service(cluster, name, trouble)
    async with service.bus:
        yield service
        service.let_go()


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_others_are_handled_soon_whatever_becomes_of_one_key(
    trouble: str, kafka: Cluster, independent: Independent, unique: str
) -> None:
    async with at_work(kafka, unique, trouble) as service:
        hot = await asyncio.to_thread(independent.write, f"{unique}.busy", bodies(HOT_RECORDS), key=HOT)
        ((partition, _), *_) = hot
        await eventually(lambda: service.taken(f"{unique}.busy") >= TAKEN, 30, "the key to be at work")
        if trouble == "it is held":
            await eventually(service.holds, 30, "it to be held")
        receipts = [
            receipt
            for topic in ("busy", "calm")
            for receipt in await service.bus.publish_many(
                topic, [{"n": n} for n in range(OTHERS)], key=lambda message: f"tenant-{message['n']}"
            )
        ]
        others = {
            (receipt.topic, receipt.partition, receipt.offset)
            for receipt in receipts
            if (receipt.topic, receipt.partition) != (f"{unique}.busy", partition)
        }
        assert len(others) > 1.5 * OTHERS
        await eventually(lambda: service.handled >= others, SECONDS, "all others to be handled")


def bodies(many: int) -> list[bytes]:
    return [json.dumps({"n": n}).encode() for n in range(many)]
