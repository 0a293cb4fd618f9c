"""A replay into an outage stops by itself, whatever its rate, and before it has written much."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi import Breaker, MessageBus
from convex_messaging_fastapi.operations import Filter, Job
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.transport.base import NewTopic
from tests.bus.support import memory_bus
from tests.promises.test_replaying import letter

DEAD_LETTERS, REPLAYS = TopicPartition("convex.dlq", 0), "billing.replay"
MOST_SECONDS = 300


async def written(bench: TestBench, count: int) -> None:
    await bench.transport.admin().ensure_topic(NewTopic(f"convex.{REPLAYS}", 4))
    producer = bench.transport.producer()
    await producer.start()
    left = [letter("convex.payments", number, "billing") for number in range(count)]
    while left:
        left = left[(await producer.send(DEAD_LETTERS, left)).taken :]


async def over(bus: MessageBus, bench: TestBench, rate: float, most: int) -> Job:
    """Replay everything, while the clock is turned a second at a time; never are more than `most` out."""
    before = len(bench.records("dlq"))
    asking = asyncio.ensure_future(
        bus.operations.replay(Filter(), by="ada", rate=rate, anyway=True, dry_run=False)
    )
    for _ in range(MOST_SECONDS):
        await bench.advance(1)
        settled = len(bench.records("dlq")) - before
        assert len(bench.records(REPLAYS)) - settled <= most
        if asking.done() and (job := bus.operations.job(asking.result().id)) is not None and job.is_over:
            return job
    raise TimeoutError(f"after {MOST_SECONDS} s it goes on: {asking}")


@pytest.mark.parametrize("breaker", [None, Breaker()], ids=["breaker off", "breaker on"])
@pytest.mark.parametrize(
    ("rate", "letters", "most"),
    [(5, 400, 250), (50, 1_200, 1_000), pytest.param(500, 11_000, 10_000, marks=pytest.mark.long)],
)
async def test_with_the_database_away_a_replay_stops_by_itself(
    rate: float, letters: int, most: int, breaker: Breaker | None
) -> None:
    """With the default retry a copy fails for the last time some fifteen seconds after it came."""
    bus = memory_bus(consumer_group="billing")

    @bus.subscriber("payments", id="settle", breaker=breaker)
    async def settle(message: bytes) -> None:
        raise ConnectionError("away")

    async with bus.test() as bench:
        await written(bench, letters)
        job = await over(bus, bench, rate, most)
        assert (job.status, 0 < job.done < letters) == ("stopped", True)
        assert job.error.startswith("nobody handles them" if breaker else "they fail again")
