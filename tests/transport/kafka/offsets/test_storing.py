"""One partition's trouble with a commit is its own: each has its answer, whatever the others' are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Position
from convex_messaging_fastapi.transport.kafka.engine import Identity, Member, TopicId
from convex_messaging_fastapi.transport.kafka.engine.codes import NAMES, for_code
from convex_messaging_fastapi.transport.kafka.engine.groups.commits import commit
from convex_messaging_fastapi.transport.kafka.offsets.history import History
from convex_messaging_fastapi.transport.kafka.offsets.ownership import Holding
from convex_messaging_fastapi.transport.kafka.offsets.storing import TERSE_SECONDS, Storing
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import outcome_of

ONE, TWO, OTHER = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)
ALL = {ONE: Position(1), TWO: Position(2), OTHER: Position(3)}
METADATA_TOO_LARGE, INVALID_SIZE = 12, 28
UNKNOWN_MEMBER, ILLEGAL_GENERATION, REBALANCING = 25, 22, 27
US = Identity(3, "us")
TOPIC = TopicId("cluster-of-tests", bytes(15) + b"1")

Answer = Callable[[TopicPartition, Position], int]


class Coordinator:
    """The engine's, before a broker that answers each partition as `code_of` says, or does not answer."""

    group_id = "billing"

    def __init__(self, code_of: Answer) -> None:
        self.generation, self.member_id = US
        self.code_of = code_of
        self.silent: KafkaError | None = None
        self.asked: list[dict[TopicPartition, Position]] = []
        self.told: list[str] = []

    async def _send_req(self, request: Any) -> Any:
        asked = {
            TopicPartition(topic, number): Position(offset, text)
            for topic, partitions in request._topics
            for number, offset, text in partitions
        }
        self.asked.append(asked)
        if self.silent is not None:
            raise self.silent
        topics = [(where.topic, [(where.partition, self.code_of(where, at))]) for where, at in asked.items()]
        return SimpleNamespace(topics=topics)

    def coordinator_dead(self) -> None:
        self.told.append("dead")

    def request_rejoin(self) -> None:
        self.told.append("rejoin")

    def reset_generation(self) -> None:
        self.told.append("reset")


def member_of(coordinator: Coordinator) -> Any:
    member: Any = Member.__new__(Member)
    member._consumer = SimpleNamespace(_coordinator=coordinator)
    member.client = SimpleNamespace(topic_ids=SimpleNamespace(of=lambda topic: None), ours=nullcontext)
    return member


class Stage:
    def __init__(self, code_of: Answer) -> None:
        self.clock = ManualClock()
        self.history = History("readers", self.clock)
        self.coordinator = Coordinator(code_of)
        self.storing = Storing("billing", self.clock, self.history)
        self.holding = Holding(1, member_of(self.coordinator), ALL, {})
        self.holding.topic_ids = {"a": TOPIC}

    async def commit(
        self, offsets: Mapping[TopicPartition, Position] = ALL, doubtful: frozenset[str] = frozenset()
    ) -> dict[TopicPartition, CommitOutcome]:
        return await self.storing.commit(self.holding, offsets, doubtful, self.clock.now() + 5)


def one_is(code: int) -> Answer:
    return lambda where, at: code if where == ONE else 0


@pytest.mark.parametrize("code", sorted({*NAMES} - {0}))
async def test_whatever_is_answered_of_one_partition_the_others_are_stored(code: int) -> None:
    stage = Stage(one_is(code))
    outcomes = await stage.commit()
    expected = outcome_of(for_code(code)())
    assert outcomes == {
        ONE: expected,
        TWO: CommitOutcome.COMMITTED,
        OTHER: CommitOutcome.COMMITTED,
    }
    assert stage.history.stored == {TWO: 2, OTHER: 3}
    assert set(stage.storing.words) == {ONE}
    assert for_code(code).__name__ in stage.storing.words[ONE]


async def test_what_was_said_of_a_partition_is_past_once_it_is_stored() -> None:
    stage = Stage(one_is(29))
    await stage.commit()
    stage.coordinator.code_of = one_is(0)
    assert set((await stage.commit()).values()) == {CommitOutcome.COMMITTED}
    assert not stage.storing.words


async def test_a_partition_without_an_answer_may_be_stored() -> None:
    stage = Stage(one_is(0))
    answer = stage.coordinator._send_req

    async def forgetful(request: Any) -> Any:
        answered = await answer(request)
        return SimpleNamespace(topics=answered.topics[1:])

    stage.coordinator._send_req = forgetful  # type: ignore[method-assign]
    assert (await stage.commit())[ONE] is CommitOutcome.UNKNOWN


@pytest.mark.parametrize(
    ("code", "told"), [(UNKNOWN_MEMBER, "reset"), (ILLEGAL_GENERATION, "reset"), (REBALANCING, "rejoin")]
)
async def test_the_engine_hears_what_an_answer_says_of_its_membership(code: int, told: str) -> None:
    stage = Stage(lambda where, at: code)
    await stage.commit()
    assert stage.coordinator.told == [told]


async def test_an_answer_to_who_we_were_takes_no_new_membership_away() -> None:
    coordinator = Coordinator(lambda where, at: ILLEGAL_GENERATION)
    send = coordinator._send_req

    async def joined_meanwhile(request: Any) -> Any:
        coordinator.generation += 1
        return await send(request)

    coordinator._send_req = joined_meanwhile  # type: ignore[method-assign]
    unstored = await commit(coordinator, ALL, US)
    assert unstored.keys() == ALL.keys()
    assert coordinator.told == []


@pytest.mark.parametrize("code", [METADATA_TOO_LARGE, INVALID_SIZE])
@pytest.mark.parametrize("takes", [0, 60, 200])
async def test_an_offset_is_stored_with_as_much_beside_it_as_the_broker_takes(code: int, takes: int) -> None:
    stage = Stage(lambda where, at: code if len(at.metadata) > takes else 0)
    long, short = Position(1, "r" * 500), Position(2, "r" * 10)
    outcomes = await stage.commit({ONE: long, OTHER: short})
    assert set(outcomes.values()) == {CommitOutcome.COMMITTED}
    stored = {where: at for asked in stage.coordinator.asked for where, at in asked.items()}
    assert stored[ONE].offset == 1
    assert len(stored[ONE].metadata) <= takes
    assert (stored[ONE].metadata != "") is (takes >= 60), "which topic it is, where there is room for that"
    assert [OTHER in asked for asked in stage.coordinator.asked].count(True) == (1 if takes >= 10 else 2)


async def test_a_text_that_was_too_long_is_not_sent_again_for_a_while_and_a_shorter_one_is() -> None:
    stage = Stage(lambda where, at: METADATA_TOO_LARGE if len(at.metadata) > 200 else 0)
    long = {OTHER: Position(1, "r" * 500)}
    for asked in (2, 1, 1):
        stage.coordinator.asked.clear()
        assert await stage.commit(long) == {OTHER: CommitOutcome.COMMITTED}
        assert len(stage.coordinator.asked) == asked
    stage.coordinator.asked.clear()
    await stage.commit({OTHER: Position(1, "r" * 150)})
    assert stage.coordinator.asked == [{OTHER: Position(1, "r" * 150)}]
    stage.clock.advance(TERSE_SECONDS + 1)
    stage.coordinator.asked.clear()
    await stage.commit(long)
    assert len(stage.coordinator.asked) == 2


async def test_an_offset_that_is_refused_without_a_text_is_refused() -> None:
    stage = Stage(lambda where, at: INVALID_SIZE)
    assert await stage.commit({ONE: Position(1, "r" * 500)}) == {ONE: CommitOutcome.REFUSED}


async def test_what_was_stored_before_the_rest_got_no_answer_is_stored() -> None:
    stage = Stage(lambda where, at: METADATA_TOO_LARGE if at.metadata else 0)
    send = stage.coordinator._send_req

    async def once(request: Any) -> Any:
        answer = await send(request)
        stage.coordinator.silent = KafkaConnectionError()
        return answer

    stage.coordinator._send_req = once  # type: ignore[method-assign]
    outcomes = await stage.commit({ONE: Position(1, "r" * 500), OTHER: Position(2)})
    assert outcomes == {ONE: CommitOutcome.UNKNOWN, OTHER: CommitOutcome.COMMITTED}


async def test_a_commit_that_is_late_may_be_stored_and_is_not_sent_any_more() -> None:
    stage = Stage(lambda where, at: 0)
    never, asked = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def ask(request: Any) -> Any:
        asked.set()
        return await never

    stage.coordinator._send_req = ask  # type: ignore[method-assign]
    committing = asyncio.ensure_future(stage.commit())
    await asked.wait()
    stage.clock.advance(6)
    assert set((await committing).values()) == {CommitOutcome.UNKNOWN}
    assert set(stage.storing.words.values()) == {"no answer in time"}
    await asyncio.sleep(0)
    assert never.cancelled()


async def test_the_doubt_about_one_topic_and_the_end_of_another_are_theirs_alone() -> None:
    stage = Stage(lambda where, at: 0)
    stage.holding.cut.add(TWO)
    outcomes = await stage.commit(doubtful=frozenset("b"))
    assert outcomes == {
        ONE: CommitOutcome.COMMITTED,
        TWO: CommitOutcome.COMMITTED,  # there is nothing to store it in
        OTHER: CommitOutcome.FAILED,
    }
    assert stage.coordinator.asked[0].keys() == {ONE}
