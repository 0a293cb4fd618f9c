"""Of the crowds that one answer concerns, the next is woken when what the one before publishes is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from convex_messaging_fastapi.publishing.wake_pacing import CROWD, WakePacing
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Sent
from tests.publishing.fakes import FakeProducer, record, until


class Noting(FakeProducer):
    """Notes which partition was sent to."""

    def __init__(self, noted: list[str]) -> None:
        super().__init__(partitions=2)
        self._noted = noted

    async def send(self, where: TopicPartition, records: Sequence[OutgoingRecord]) -> Sent:
        self._noted.append(f"sent to {where.partition}")
        return await super().send(where, records)


async def test_what_the_first_crowd_publishes_next_is_sent_before_the_second_is_told(
    clock: ManualClock,
) -> None:
    noted: list[str] = []
    producer = Noting(noted)
    publisher = Publisher(producer, clock, Partitioner())
    await publisher.start()

    async def publish_twice(number: int) -> None:
        receipt = await publisher.publish("t", record(number, key=b"%d" % (number % 8)), 10)
        noted.append(f"told of {receipt.partition}")
        await publisher.publish("t", record(number, key=b"%d" % (number % 8)), 10)

    producer.gate.clear()
    callers = [asyncio.create_task(publish_twice(number)) for number in range(3 * CROWD)]
    await until(lambda: len(producer.offers) == 2)
    noted.clear()
    producer.gate.set()
    await asyncio.gather(*callers)
    await publisher.stop(1)

    (first, second) = dict.fromkeys(note[-1] for note in noted)
    assert noted.index(f"sent to {first}") < noted.index(f"told of {second}")


async def test_few_are_told_together(clock: ManualClock) -> None:
    pacing, told = WakePacing(clock), []

    async def tell(callers: int) -> None:
        await pacing.take(callers)
        told.append(callers)

    crowds = (CROWD // 3, CROWD // 3, CROWD // 3, CROWD)
    telling = asyncio.gather(*(tell(callers) for callers in crowds))
    await until(lambda: told)
    for _ in range(2):
        await asyncio.sleep(0)
    assert len(told) == 3
    await until(telling.done)
    assert told == list(crowds)


async def test_a_crowd_that_comes_alone_waits_only_for_the_engine(clock: ManualClock) -> None:
    crowd = asyncio.ensure_future(WakePacing(clock).take(CROWD * 2))
    for _ in range(2):
        await asyncio.sleep(0)
    assert crowd.done()
