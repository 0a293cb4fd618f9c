"""A publisher on a scripted producer and a clock that tests turn by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from tests.publishing.fakes import FakeProducer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=[False, True], ids=["", "at once"])
async def producer(request: pytest.FixtureRequest) -> FakeProducer:
    """All that a publisher promises, it promises with a producer of either kind."""
    producer = FakeProducer()
    producer.at_once = request.param
    return producer


@pytest.fixture
async def publisher(producer: FakeProducer, clock: ManualClock) -> AsyncIterator[Publisher]:
    publisher = Publisher(producer, clock, Partitioner())
    await publisher.start()
    yield publisher
    await publisher.stop(0)
