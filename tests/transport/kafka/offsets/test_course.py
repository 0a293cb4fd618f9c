"""Where one assignment begins to read and goes on, as its questions are answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position, Unreadable
from convex_messaging_fastapi.transport.kafka.engine import Identity, TopicId
from convex_messaging_fastapi.transport.kafka.offsets.course import Course
from convex_messaging_fastapi.transport.kafka.offsets.history import History
from convex_messaging_fastapi.transport.kafka.offsets.ownership import Holding, Phase
from convex_messaging_fastapi.transport.kafka.offsets.positions import Move, Moves, Starts

ONE, TWO = TopicPartition("orders", 0), TopicPartition("orders", 1)
OLD, NEW = TopicId("here", b"1"), TopicId("here", b"2")
LOST = Move(5, 9, 4, "gone")
STILL_THERE = Move(5, 5, 0, "the log has it after all")
BATCH = Unreadable(5, 8, "ValueError", "broken")


class PaperMember:
    """Remembers where it was told to read."""

    identity = Identity(1, "m")

    def __init__(self) -> None:
        self.delivering = True
        self.at: dict[TopicPartition, int] = {}
        self.topic = OLD

    def seek(self, where: TopicPartition, offset: int) -> None:
        self.at[where] = offset

    def topic_id(self, topic: str) -> TopicId:
        return self.topic


class Questions:
    """What is asked, each to be answered by the test."""

    def __init__(self) -> None:
        self.starting: asyncio.Future[Starts] = asyncio.get_running_loop().create_future()
        self.moving: dict[TopicPartition, asyncio.Future[Moves]] = {}

    async def starts(self, holding: Holding) -> Starts:
        return await self.starting

    async def moves(self, holding: Holding, where: TopicPartition) -> Moves:
        return await self.moving.setdefault(where, asyncio.get_running_loop().create_future())


class Stage:
    def __init__(self) -> None:
        self.member, self.asked, self.news = PaperMember(), Questions(), list[object]()
        member: Any = self.member
        lookup: Any = self.asked
        self.holding = Holding(1, member, [ONE, TWO], {})
        self.history = History("readers", ManualClock())
        self.course = Course(self.holding, lookup, self.history, self.news.append)

    def read(self) -> None:
        """As if it had begun."""
        self.holding.next = {ONE: 5, TWO: 7}
        self.holding.topic_ids = {"orders": OLD}
        self.holding.phase = Phase.OPEN


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_it_starts_where_the_group_had_come_to_once_records_may_be_delivered(stage: Stage) -> None:
    stage.course.begin()
    await turn()
    assert stage.course.start() is None
    stored, placed = {ONE: Position(3)}, {TWO: Position(0)}
    stage.asked.starting.set_result(Starts(stored, placed, {TWO: LOST}, {"orders": OLD}))
    await turn()
    assert len(stage.news) == 1
    stage.member.delivering = False
    assert stage.course.start() is None
    stage.member.delivering = True
    assert stage.course.start() == stored | placed
    assert stage.member.at == {ONE: 3, TWO: 0}
    assert stage.history.stored == {ONE: 3}
    assert [loss.where for loss in stage.history.losses] == [TWO]


async def test_what_is_known_already_comes_before_what_is_stored(stage: Stage) -> None:
    stage.holding.moved = {ONE: Position(1)}
    stage.course.begin()
    stage.asked.starting.set_result(Starts({ONE: Position(3)}, {}, {}, {}))
    await turn()
    assert stage.course.start() == {ONE: Position(1)}


@pytest.mark.parametrize(("found", "lost"), [(LOST, 4), (STILL_THERE, 0)])
async def test_a_topic_is_in_doubt_until_it_is_known_where_to_go_on(
    stage: Stage, found: Move, lost: int
) -> None:
    stage.read()
    stage.course.move(ONE)
    await turn()
    assert (stage.course.in_doubt, stage.course.is_moving(ONE)) == ({"orders"}, True)
    assert list(stage.course.found()) == []
    stage.asked.moving[ONE].set_result({ONE: found})
    await turn()
    assert list(stage.course.found()) == [(ONE, {ONE: found})]
    assert (stage.course.in_doubt, stage.history.lost) == (set(), lost)


async def test_a_topic_that_is_another_now_is_left_and_asked_about_once(stage: Stage) -> None:
    stage.read()
    assert stage.course.leave_recreated() == set()
    stage.member.topic = NEW
    for _ in range(3):
        assert stage.course.leave_recreated() == {"orders"}
    await turn()
    assert list(stage.asked.moving) == [ONE]


@pytest.mark.parametrize(
    ("phase", "moving", "gone"),
    [(Phase.OPEN, False, {ONE: 8}), (Phase.OPEN, True, {}), (Phase.CLOSING, False, {})],
)
async def test_a_batch_that_was_given_up_is_passed_over_and_counted(
    stage: Stage, phase: Phase, moving: bool, gone: dict[TopicPartition, int]
) -> None:
    stage.read()
    stage.holding.phase = phase
    if moving:
        stage.course.move(ONE)
    assert stage.course.go_behind({ONE: BATCH}) == gone
    assert stage.holding.next[ONE] == gone.get(ONE, 5)
    assert stage.history.lost == (3 if gone else 0)
    stage.course.close()


async def test_with_its_end_nothing_is_asked_any_more(stage: Stage) -> None:
    before = asyncio.all_tasks()
    stage.read()
    stage.course.begin()
    stage.course.move(ONE)
    await turn()
    stage.course.close()
    await turn()
    assert asyncio.all_tasks() == before
    assert stage.course.in_doubt == set()
