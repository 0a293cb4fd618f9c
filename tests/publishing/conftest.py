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


@pytest.fixture
async def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
async def publisher(producer: FakeProducer, clock: ManualClock) -> AsyncIterator[Publisher]:
    publisher = Publisher(producer, clock, Partitioner())
    await publisher.start()
    yield publisher
    await publisher.stop(0)
