"""What is held is not fetched, everything else goes on; afterwards it goes on where it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.endings.bury import DLQ_UNAVAILABLE
from convex_messaging_fastapi.consuming.holds import Hold
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.errors import PublishFailed
from convex_messaging_fastapi.policies import Retry
from convex_messaging_fastapi.records import Delivery
from tests.consuming.support import Graveyard, subscription
from tests.promises.stage import SECONDS, STOP_SECONDS, Stage, numbered
from tests.support.waiting import eventually

Heard = tuple[str, int, int]


class Reader:
    """A worker whose handler notes where every message was, but for those with which it `fails`."""

    def __init__(self, stage: Stage, group: str, topics: Iterable[str]) -> None:
        self.heard: list[Heard] = []
        self.fails: Callable[[Heard], bool] = lambda heard: False
        self.graveyard = Graveyard()
        self.threads = HandlerThreads(1)
        self.worker = Worker(
            group,
            lambda: stage.transport().consumer(group),
            stage.clock,
            Limits(10_000, 10_000, 64 * 1024 * 1024),
            commit_interval=0.2,
        )
        self.worker.add(
            subscription(
                self._handle,
                "reader",
                stage.clock,
                self.graveyard,
                self.threads,
                topics=tuple(topics),
                retry=Retry(attempts=1),
            )
        )

    async def _handle(self, message: bytes, delivery: Delivery) -> None:
        heard = (delivery.topic, delivery.partition, delivery.offset)
        if self.fails(heard):
            raise ValueError("of no use")
        self.heard.append(heard)

    def of(self, topic: str, partition: int = 0) -> list[int]:
        return [offset for where, number, offset in self.heard if (where, number) == (topic, partition)]

    @property
    def held(self) -> dict[tuple[str, int], str]:
        places = self.worker.partitions
        return {(*owned.topic_partition,): owned.held for owned in places if owned.held}

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await eventually(condition, SECONDS, what)


@asynccontextmanager
async def reading(stage: Stage, *topics: str, group: str | None = None) -> AsyncIterator[Reader]:
    reader = Reader(stage, group or stage.new_name(), topics)
    await reader.worker.start()
    try:
        yield reader
    finally:
        await reader.worker.stop(STOP_SECONDS, stage.clock.now() + 2 * STOP_SECONDS)
        reader.threads.close()


async def test_a_topic_that_is_held_waits_and_the_others_go_on(stage: Stage) -> None:
    held, other = await stage.topic(partitions=1), await stage.topic(partitions=1)
    group = stage.new_name()
    async with reading(stage, held, other, group=group) as reader:
        reader.worker.hold(held, "operator", Hold("paused"))
        reader.worker.hold(held, "breaker", Hold("outage"))
        await stage.write(held, 0, numbered(3))
        for count in (1, 2, 3):
            await stage.write(other, 0, numbered(1))
            await reader.until(lambda count=count: len(reader.of(other)) == count, "what is not held")  # type: ignore[misc]
        assert reader.held == {(held, 0): "paused"}
        assert reader.of(held) == []

        reader.worker.lift(held, "operator")
        assert reader.held == {(held, 0): "outage"}, "each owner lifts its own"
        reader.worker.lift(held, "breaker")
        await reader.until(lambda: len(reader.of(held)) == 3, "what was held")
        assert (reader.of(held), reader.held) == ([0, 1, 2], {})
    async with reading(stage, held, other, group=group) as successor:
        await stage.write(held, 0, numbered(1))
        await successor.until(lambda: successor.heard, "what is new")
        assert successor.heard == [(held, 0, 3)], "all before it was committed"


async def test_a_topic_stays_held_when_partitions_come_and_go(stage: Stage) -> None:
    topic = await stage.topic(partitions=2)
    group = stage.new_name()
    async with reading(stage, topic, group=group) as reader:
        reader.worker.hold(topic, "operator", Hold("paused"))
        await reader.until(lambda: len(reader.held) == 2, "both partitions")
        async with reading(stage, topic, group=group) as other:
            await reader.until(lambda: len(reader.held) == 1 == len(other.worker.partitions), "one for each")
            for partition in (0, 1):
                await stage.write(topic, partition, numbered(1))
            await other.until(lambda: other.heard, "what another member may read")
        await reader.until(lambda: len(reader.held) == 2, "both again")
        assert reader.heard == []

        reader.worker.lift(topic, "operator")
        await reader.until(lambda: reader.heard, "what was held")
    assert sorted(reader.heard + other.heard) == [(topic, 0, 0), (topic, 1, 0)]


async def test_a_hold_may_end_by_itself(stage: Stage) -> None:
    topic = await stage.topic(partitions=1)
    async with reading(stage, topic) as reader:
        until = stage.clock.now() + 2.0
        reader.worker.hold(topic, "timer", Hold("early", until))
        await stage.write(topic, 0, numbered(1))
        await reader.until(lambda: reader.heard, "what was held")
        assert stage.clock.now() >= until


async def test_a_partition_waits_for_a_letter_and_its_siblings_do_not(stage: Stage) -> None:
    topic = await stage.topic(partitions=2)
    async with reading(stage, topic) as reader:
        reader.fails = lambda heard: heard == (topic, 0, 0)
        reader.graveyard.refuses = PublishFailed("no letter today")
        await stage.write(topic, 0, numbered(1))
        await reader.until(lambda: reader.held, "the hold")
        assert reader.held == {(topic, 0): DLQ_UNAVAILABLE}
        await stage.write(topic, 0, numbered(2))
        for count in (1, 2, 3):
            await stage.write(topic, 1, numbered(1))
            await reader.until(lambda count=count: len(reader.of(topic, 1)) == count, "the sibling")  # type: ignore[misc]
        assert reader.of(topic, 0) == []

        reader.graveyard.refuses = None
        await reader.until(lambda: len(reader.of(topic, 0)) == 2, "what came behind it")
        assert (reader.of(topic, 0), reader.held) == ([1, 2], {})
        assert [record.offset for record, _ in reader.graveyard.buried] == [0]
