"""What a publisher promises holds whatever factory for tasks its loop has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import MessageTooLarge, PublishFailed
from convex_messaging_fastapi.publishing import Publisher
from convex_messaging_fastapi.publishing.topics import REFRESH_SECONDS
from convex_messaging_fastapi.transport.base import Verdict
from tests.publishing.fakes import FakeProducer, listed, record, until
from tests.support.eager import FACTORIES


@pytest.fixture(params=FACTORIES, autouse=True)
async def eager(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(FACTORIES[request.param])
    yield
    loop.set_task_factory(None)


@pytest.mark.parametrize("verdict", [Verdict.TOO_LARGE, Verdict.REFUSED, Verdict.WRITTEN])
async def test_an_answer_that_comes_without_waiting_leaves_its_partition_open_to_the_next(
    publisher: Publisher, producer: FakeProducer, verdict: Verdict
) -> None:
    await publisher.publish("t", record("warm"), 10)
    producer.at_once = False
    producer.script.append(verdict)
    first = asyncio.create_task(publisher.publish("t", record("first"), 10))
    await until(first.done)
    refused = first.exception()
    assert refused is None or isinstance(refused, PublishFailed)
    assert isinstance(refused, MessageTooLarge) is (verdict is Verdict.TOO_LARGE)
    receipts = [await publisher.publish("t", record(n), 10) for n in range(3)]
    assert receipts == sorted(receipts)
    receipts = await publisher.publish_many("t", listed([record(n) for n in range(3)]), 10)
    assert len(receipts) == 3


async def test_a_failure_that_comes_without_waiting_is_sent_again(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    await publisher.publish("t", record("warm"), 10)
    producer.script.append(Verdict.FAILED)
    publishing = asyncio.create_task(publisher.publish("t", record("again"), 10))
    await until(lambda: (clock.next_due() or 9) < 1)
    clock.advance(1)
    assert (await publishing).offset == 1


async def test_partitions_are_counted_again_and_again(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    def counted(times: int) -> Callable[[], bool]:
        return lambda: producer.counted == times

    for asked in range(1, 4):
        await publisher.publish("t", record("v"), 10)
        await until(counted(asked))
        clock.advance(REFRESH_SECONDS)
    producer.partitions = 9
    await publisher.publish("t", record("v"), 10)
    await until(counted(4))
    assert (await publisher.publish("t", record("v"), 10, partition=8)).partition == 8


async def test_a_stop_leaves_no_task(publisher: Publisher, producer: FakeProducer) -> None:
    producer.gate.clear()
    publishing = [asyncio.create_task(publisher.publish("t", record(n), 10)) for n in range(5)]
    await until(producer.entered.is_set)
    producer.gate.set()
    await asyncio.gather(*publishing)
    await publisher.stop(1)
    assert asyncio.all_tasks() == {asyncio.current_task()}
