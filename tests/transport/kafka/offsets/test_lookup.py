"""Where reading starts is asked until it is known, and a broker that is behind the others is not believed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position
from convex_messaging_fastapi.transport.kafka.engine import Identity, TopicId
from convex_messaging_fastapi.transport.kafka.offsets.history import History
from convex_messaging_fastapi.transport.kafka.offsets.lookup import OffsetLookup
from convex_messaging_fastapi.transport.kafka.offsets.marks import marked
from convex_messaging_fastapi.transport.kafka.offsets.ownership import Holding
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

WHERE = TopicPartition("orders", 0)
OLD, NEW = TopicId("here", b"o" * 16), TopicId("here", b"n" * 16)
NOT_HEARD, NEW_AT_LAST = None, NEW


class Cluster:
    """A group has committed 40 of 99 in `committed_in`; `learns` is what each question for topics finds."""

    identity = Identity(1, "member")

    def __init__(self, topic: TopicId, committed_in: TopicId, learns: list[TopicId | None]) -> None:
        self.topic, self.committed_in, self.learns = topic, committed_in, learns
        self.gone: set[TopicId] = set()
        self.refusals = 0
        self.asked = 0
        self.meanwhile: TopicId | None = None
        self.metadata = ""
        self.led = True
        self.ending: list[int | Exception | None] = []

    def topic_id(self, topic: str) -> TopicId | None:
        return self.topic

    def was_replaced(self, topic: TopicId) -> bool:
        return topic in self.gone

    async def learn(self, clock: object, seconds: float) -> bool:
        heard = self.learns.pop(0)
        self.topic = heard or self.topic
        return heard is not None

    async def committed(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, Position]:
        self.asked += 1
        if self.refusals:
            self.refusals -= 1
            raise KafkaConnectionError
        if self.meanwhile is not None:
            self.topic, self.meanwhile = self.meanwhile, None
        return {WHERE: Position(40, marked(self.metadata, self.committed_in))}

    def is_led(self, where: TopicPartition) -> bool:
        return self.led

    async def ends(self, wanted: Collection[TopicPartition], *, last: bool) -> dict[TopicPartition, int]:
        if self.ending:
            match self.ending.pop():
                case None:
                    await asyncio.Event().wait()
                case Exception() as error:
                    raise error
        return dict.fromkeys(wanted, 99 if last else 0)


async def start(cluster: Any) -> tuple[int, TopicId | None]:
    """Where a group that begins at the end begins, and in which topic."""
    tuning = Tuning(confirm_seconds=0, retry_seconds=0)
    asking = OffsetLookup("readers", SystemClock(), tuning, History("readers", SystemClock()), "latest")
    found = await asking.starts(Holding(1, cluster, [WHERE], {}))
    return (found.stored | found.placed)[WHERE].offset, found.topic_ids["orders"]


async def test_what_was_committed_in_the_topic_there_is_is_the_start() -> None:
    assert await start(Cluster(NEW, NEW, [NEW])) == (40, NEW)


async def test_one_whose_first_question_for_topics_is_not_answered_starts_all_the_same() -> None:
    assert await start(Cluster(NEW, NEW, [NOT_HEARD])) == (40, NEW)


async def test_a_coordinator_that_does_not_know_yet_is_asked_again() -> None:
    cluster = Cluster(NEW, NEW, [NEW])
    cluster.refusals = 3
    assert await start(cluster) == (40, NEW)
    assert cluster.asked == 4


@pytest.mark.parametrize(
    "learns",
    [[OLD, NEW_AT_LAST], [OLD, NOT_HEARD, NEW_AT_LAST], [OLD, NOT_HEARD, NOT_HEARD, NEW_AT_LAST]],
    ids=["told at once", "after silence", "after more silence"],
)
async def test_a_broker_that_is_behind_hides_no_commit(learns: list[TopicId | None]) -> None:
    """Silence confirms nothing: records that nobody has handled would be passed over."""
    assert await start(Cluster(OLD, NEW, learns)) == (40, NEW)


async def test_a_commit_in_another_topic_than_is_told_again_is_none() -> None:
    cluster = Cluster(NEW, OLD, [NEW, NEW])
    assert await start(cluster) == (99, NEW)
    assert cluster.learns == []


async def test_a_commit_in_a_topic_that_is_known_to_be_gone_is_none_without_a_doubt() -> None:
    cluster = Cluster(NEW, OLD, [NEW])
    cluster.gone = {OLD}
    assert await start(cluster) == (99, NEW)


async def test_a_topic_that_becomes_another_while_it_is_asked_of_is_asked_of_again() -> None:
    cluster = Cluster(OLD, NEW, [OLD])
    cluster.meanwhile = NEW
    assert await start(cluster) == (40, NEW)
    assert cluster.asked == 2


@pytest.mark.parametrize(
    ("metadata", "led", "ending", "end"),
    [
        ("finished", True, [], 99),
        ("", True, [KafkaConnectionError()], None),
        ("finished", False, [KafkaConnectionError()], None),
        ("finished", True, [KafkaConnectionError()], None),
        ("finished", True, [None], None),
    ],
    ids=["with metadata", "without", "no leader", "an error", "silence"],
)
async def test_where_the_log_ends_is_told_where_it_matters_and_is_known_soon(
    metadata: str, led: bool, ending: list[int | Exception | None], end: int | None
) -> None:
    cluster: Any = Cluster(NEW, NEW, [NEW])
    cluster.metadata, cluster.led, cluster.ending = metadata, led, ending
    tuning = Tuning(confirm_seconds=0.01, retry_seconds=0)
    asking = OffsetLookup("readers", SystemClock(), tuning, History("readers", SystemClock()), "latest")
    found = await asking.starts(Holding(1, cluster, [WHERE], {}))
    assert found.stored == {WHERE: Position(40, metadata, end)}
