"""Letters are written as large as their topic takes them, and the topic is asked for by one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextvars import copy_context
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.dead_letters.building import size_of
from convex_messaging_fastapi.consuming.dead_letters.size_limit import (
    FORGET_SECONDS,
    FORGET_SMALL_SECONDS,
    SMALL_BYTES,
    SizeLimit,
)
from convex_messaging_fastapi.consuming.dead_letters.writer import (
    DeadLetterTopic,
    DeadLetterWriter,
    topic_for_dead_letters,
)
from convex_messaging_fastapi.errors import MessageTooLarge, PublishError, PublishFailed, TopicUnavailable
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.messages import DeadLetterMessage
from convex_messaging_fastapi.naming import Naming
from convex_messaging_fastapi.publishing import Partitioner, Publisher, Publishing, PublishLimits
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, Record
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.base import NewTopic
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport

DLQ = "convex.dlq"
KIB, MIB = 1024, 1024 * 1024
LARGEST = PublishLimits(10 * MIB).dead_letter_bytes
FAILURE = Failure("app.PaymentFailed", "card refused", "app.PaymentFailed: card refused\n" * 20, 3, "g", "h")


@dataclass
class Admin:
    """Implements `AdminTransport` over a memory broker, counts, and waits at its gate."""

    broker: MemoryBroker
    tells: bool = True
    asked: int = 0
    at_once: int = 0
    most_at_once: int = 0
    refuses: str | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def ensure_topic(self, topic: NewTopic) -> None:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if self.refuses is not None:
            raise TopicUnavailable(self.refuses)
        self.broker.ensure(topic)

    async def largest_message(self, topic: str) -> int | None:
        return self.broker.largest_message(topic) if self.tells else None

    async def retention_ms(self, topic: str) -> int | None:
        return None


class Writer(Publisher):
    """Counts what is written, at once and in all, and how often a letter was too large."""

    tried = 0
    too_large = 0
    at_once = 0
    bytes_at_once = 0
    most_bytes_at_once = 0
    gate: asyncio.Event | None = None

    async def publish(
        self,
        topic: str,
        record: OutgoingRecord,
        timeout: float,
        partition: int | None = None,
        *,
        is_limited: bool = True,
    ) -> Receipt:
        size = size_of(record)
        self.tried += 1
        self.at_once += 1
        self.bytes_at_once += size
        self.most_bytes_at_once = max(self.bytes_at_once, self.most_bytes_at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            return await super().publish(topic, record, timeout, partition, is_limited=is_limited)
        except MessageTooLarge:
            self.too_large += 1
            raise
        finally:
            self.at_once -= 1
            self.bytes_at_once -= size


class Stage:
    """A writer of dead letters whose every side the test can see."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock)
        self.admin = Admin(self.broker)
        self.admin.gate.set()
        self.writer = Writer(MemoryTransport(self.broker).producer(), self.clock, Partitioner())
        wanted = topic_for_dead_letters(NewTopic(DLQ, 1), LARGEST)
        self.topic = DeadLetterTopic(wanted, self.admin, LARGEST, copy_context())
        publishing = Publishing(self.writer, Naming(MessagingSettings()), self.clock, default_timeout=1)
        self.dead_letters = DeadLetterWriter(self.topic, publishing, self.clock)

    def made_by_hand(self, limit: int) -> None:
        self.broker.ensure(NewTopic(DLQ, 1, config={"max.message.bytes": str(limit)}))

    async def bury(self, size: int = 10, offset: int = 0) -> None:
        await self.dead_letters.bury(a_record(size, offset), FAILURE)

    @property
    def letters(self) -> list[DeadLetterMessage]:
        return [
            DeadLetterMessage.model_validate_json(record.value or b"") for record in self.broker.records(DLQ)
        ]

    async def failing(self, count: int) -> list[BaseException | None]:
        """Bury so many at once while the cluster takes no letter, and let their time pass."""
        self.broker.refuse(DLQ, 1_000)
        burying = asyncio.gather(*[self.bury(offset=n) for n in range(count)], return_exceptions=True)
        for _ in range(30):
            await turns()
            self.clock.advance(0.1)
        outcomes = await burying
        self.broker._refusals.clear()
        return list(outcomes)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    await stage.writer.start()
    yield stage
    await stage.dead_letters.stop()
    await stage.writer.stop(0)


def a_record(size: int, offset: int = 0) -> Record:
    return Record("convex.bets", 0, offset, 1_767_225_600_000, b"k", b"x" * size, ())


async def turns() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


# -- the topic --------------------------------------------------------------------------------------


async def test_whoever_needs_the_topic_waits_for_one_and_the_same_question(stage: Stage) -> None:
    stage.admin.gate.clear()
    burying = asyncio.gather(stage.dead_letters.prepare(), *[stage.bury(offset=n) for n in range(32)])
    await turns()
    assert (stage.admin.asked, stage.admin.most_at_once) == (1, 1)
    stage.admin.gate.set()
    await burying
    assert stage.admin.asked == 1
    assert len(stage.letters) == 32


async def test_the_answer_no_is_for_all_who_waited(stage: Stage) -> None:
    stage.admin.refuses = "may not create"
    outcomes = await asyncio.gather(*[stage.bury(offset=n) for n in range(32)], return_exceptions=True)
    assert stage.admin.asked == 1
    assert all(isinstance(outcome, TopicUnavailable) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 32, "each has an error of its own"


async def test_those_who_are_cancelled_take_the_question_from_nobody(stage: Stage) -> None:
    stage.admin.gate.clear()
    gone, stays = asyncio.create_task(stage.bury(offset=1)), asyncio.create_task(stage.bury(offset=2))
    await turns()
    gone.cancel()
    stage.admin.gate.set()
    await stays
    assert gone.cancelled()
    assert stage.admin.asked == 1


async def test_after_a_letter_that_failed_the_topic_is_looked_at_again(stage: Stage) -> None:
    """It may have been deleted: whoever deletes it and makes it no more would have no letters at all."""
    await stage.bury()
    assert stage.admin.asked == 1
    (outcome,) = await stage.failing(1)
    assert isinstance(outcome, PublishError)
    del stage.broker._topics[DLQ]
    await stage.bury()
    assert stage.admin.asked == 2
    assert stage.broker.largest_message(DLQ) == LARGEST, "it was made anew as we make it"


async def test_letters_that_failed_together_make_one_question(stage: Stage) -> None:
    await stage.bury()
    outcomes = await stage.failing(32)
    assert all(isinstance(outcome, PublishError) for outcome in outcomes)
    await asyncio.gather(*[stage.bury(offset=n) for n in range(32)])
    assert stage.admin.asked == 2


async def test_a_burial_that_is_stopped_asks_no_more_and_whoever_waits_is_told(stage: Stage) -> None:
    stage.admin.gate.clear()
    burying = asyncio.create_task(stage.bury())
    await turns()
    await stage.dead_letters.stop()
    with pytest.raises(TopicUnavailable, match="is stopping"):
        await burying
    assert stage.admin.at_once == 0


async def test_only_a_topic_that_was_never_there_is_told_as_missing(stage: Stage) -> None:
    assert stage.dead_letters.no_topic is None
    stage.admin.refuses = "may not create"
    with pytest.raises(TopicUnavailable):
        await stage.dead_letters.prepare()
    assert stage.dead_letters.no_topic == "may not create"
    stage.admin.refuses = None
    await stage.dead_letters.prepare()
    assert stage.dead_letters.no_topic is None
    await stage.failing(1)
    stage.admin.refuses = "may not create"
    with pytest.raises(TopicUnavailable):
        await stage.bury()
    assert stage.dead_letters.no_topic is None, "what waits for its letter tells of itself"


# -- sizes ------------------------------------------------------------------------------------------


def test_a_topic_of_ours_takes_twice_the_largest_message_and_all_that_is_told_beside_it() -> None:
    topic = topic_for_dead_letters(NewTopic(DLQ, 3, 2, {"retention.ms": "1"}), LARGEST)
    assert topic == NewTopic(DLQ, 3, 2, {"retention.ms": "1", "max.message.bytes": str(20 * MIB + 64 * KIB)})
    assert PublishLimits(1024 * MIB).dead_letter_bytes < 2**31


LIMITS = (1_200, 10 * KIB, 64 * KIB, 1_048_588, 4 * MIB)
PAYLOADS = (0, 500, 5 * KIB, 60 * KIB, 900 * KIB, 1_100 * KIB, 3 * MIB, 5 * MIB, 10 * MIB)


@pytest.mark.parametrize("tells", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize("limit", LIMITS)
async def test_whatever_the_topic_takes_each_letter_is_written_with_its_payload_where_that_fits(
    stage: Stage, limit: int, tells: bool
) -> None:
    stage.made_by_hand(limit)
    stage.admin.tells = tells
    for offset, size in enumerate(PAYLOADS * 2):
        await stage.bury(size, offset)
    assert len(stage.letters) == 2 * len(PAYLOADS)
    for letter, size in zip(stage.letters, PAYLOADS * 2, strict=True):
        if size + 3 * KIB < limit * 63 // 64:
            assert letter.original_message == "x" * size
        if size > limit:
            assert (letter.original_message, letter.payload_omitted) == (None, True)
    if tells:
        assert stage.writer.too_large == 0


@pytest.mark.parametrize("tells", [True, False], ids=["told", "not told"])
async def test_a_size_that_was_refused_is_not_tried_again(stage: Stage, tells: bool) -> None:
    stage.made_by_hand(1_048_588)
    stage.admin.tells = tells
    for offset in range(60):
        await stage.bury(1_100 * KIB, offset)
    assert len(stage.letters) == 60
    assert stage.writer.too_large <= (0 if tells else 1)
    assert stage.writer.tried <= 61


async def test_of_a_crowd_that_is_too_large_only_those_under_way_are_refused(stage: Stage) -> None:
    stage.made_by_hand(1_048_588)
    stage.admin.tells = False
    await asyncio.gather(*[stage.bury(3 * MIB, offset) for offset in range(20)])
    assert len(stage.letters) == 20
    assert stage.writer.too_large <= PublishLimits().pending_dead_letter_bytes // (3 * MIB)


@pytest.mark.parametrize("tells", [True, False], ids=["told", "not told"])
async def test_a_topic_too_small_for_any_letter_is_not_written_to_again_and_again(
    stage: Stage, tells: bool
) -> None:
    stage.made_by_hand(300)
    stage.admin.tells = tells
    for _ in range(20):
        outcomes = await asyncio.gather(*[stage.bury(10, n) for n in range(64)], return_exceptions=True)
        assert all(isinstance(outcome, MessageTooLarge) for outcome in outcomes)
    assert stage.writer.tried <= (0 if tells else 2 * 64), "the first crowd finds it out, and nobody after it"
    assert stage.letters == []


@pytest.mark.parametrize("tells", [True, False], ids=["told", "not told"])
async def test_a_topic_that_is_altered_is_learnt_of(stage: Stage, tells: bool) -> None:
    stage.made_by_hand(300)
    stage.admin.tells = tells
    with pytest.raises(MessageTooLarge):
        await stage.bury(10)
    stage.broker._topics[DLQ].max_message_bytes = 4 * MIB
    stage.clock.advance(FORGET_SECONDS)
    await stage.bury(3 * MIB)
    (letter,) = stage.letters
    assert letter.original_message == "x" * 3 * MIB

    stage.broker._topics[DLQ].max_message_bytes = 64 * KIB
    await stage.bury(3 * MIB, 1)
    assert stage.letters[-1].payload_omitted


async def test_letters_that_are_being_written_share_their_room(stage: Stage) -> None:
    stage.writer.gate = asyncio.Event()
    burying = asyncio.gather(*[stage.bury(2 * MIB, offset) for offset in range(20)])
    await turns()
    assert 0 < stage.writer.at_once < 20
    stage.writer.gate.set()
    await burying
    assert len(stage.letters) == 20
    assert stage.writer.most_bytes_at_once <= PublishLimits().pending_dead_letter_bytes


async def test_a_letter_larger_than_the_room_has_it_alone(stage: Stage) -> None:
    await asyncio.gather(*[stage.bury(10 * MIB, offset) for offset in range(3)])
    assert [len(letter.original_message or "") for letter in stage.letters] == [10 * MIB] * 3
    assert stage.writer.most_bytes_at_once <= LARGEST


# -- what is learnt, by itself ------------------------------------------------------------------------

SIZES = st.integers(1, 4_000_000)


@given(limit=SIZES, tried=st.lists(SIZES, max_size=30))
def test_what_is_offered_was_never_refused_and_never_more_than_there_may_be(
    limit: int, tried: list[int]
) -> None:
    learnt, refused = SizeLimit(3_000_000), 3_000_001
    for size in tried:
        offered = learnt.at(0.0)
        assert 0 <= offered <= 3_000_000
        assert offered < refused
        if size <= offered:
            if size <= limit:
                learnt.taken(size)
                assert learnt.at(0.0) >= size, "what was taken once is taken again"
            else:
                learnt.refused(size, 0.0)
                refused = min(refused, size)
    assert learnt.at(FORGET_SECONDS) == 3_000_000, "no refusal is remembered for ever"


@given(limit=SIZES)
def test_to_find_a_limit_out_takes_few_refusals(limit: int) -> None:
    """Whatever sizes come, one after another just as large as is offered."""
    learnt, refusals = SizeLimit(4_000_000), 0
    while (size := learnt.at(0.0)) > limit:
        learnt.refused(size, 0.0)
        refusals += 1
    assert refusals < 25


async def test_a_letter_that_fails_for_another_reason_says_so(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    (outcome,) = await stage.failing(1)
    assert isinstance(outcome, PublishFailed)
    assert not isinstance(outcome, MessageTooLarge)


@pytest.mark.parametrize(
    ("size", "seconds"), [(SMALL_BYTES, FORGET_SECONDS), (SMALL_BYTES - 1, FORGET_SMALL_SECONDS)]
)
def test_a_refusal_is_remembered_the_longer_the_more_it_costs(size: int, seconds: float) -> None:
    learnt = SizeLimit(3_000_000)
    learnt.refused(size, now=5.0)
    assert learnt.at(5.0 + seconds * 0.9) < size
    assert learnt.at(5.0 + seconds) == 3_000_000
