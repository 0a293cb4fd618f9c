"""One message may have so many bytes, and all that wait so many; letters have room of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import (
    MessageTooLarge,
    PublishError,
    PublishFailed,
    PublishManyError,
    PublishUnknown,
)
from convex_messaging_fastapi.publishing import Partitioner, Publisher, PublishLimits
from convex_messaging_fastapi.publishing.limits import KEPT_BYTES
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, size_of
from convex_messaging_fastapi.transport.base import Verdict
from tests.publishing.fakes import FakeProducer, listed, record, until

MESSAGE, PENDING, LETTERS = 2_000, 10_000, 3_000
LIMITS = PublishLimits(MESSAGE, PENDING, LETTERS)
THOUSAND = OutgoingRecord(b"k", bytes(1_000 - 1))
EACH = 1_000 + KEPT_BYTES
SMALL = OutgoingRecord(b"k", b"v")

Shape = Callable[[int], OutgoingRecord]
SHAPES: dict[str, Shape] = {
    "value": lambda size: OutgoingRecord(None, bytes(size)),
    "key": lambda size: OutgoingRecord(bytes(size), b""),
    "tombstone": lambda size: OutgoingRecord(bytes(size), None),
    "header": lambda size: OutgoingRecord(None, b"v", (("h", bytes(size - 1)),)),
    "name of a header": lambda size: OutgoingRecord(None, b"v", (("h" * size, None),)),
    "many headers": lambda size: OutgoingRecord(bytes(size % 2), b"v", (("h", b"1"),) * (size // 2)),
    "key and header": lambda size: OutgoingRecord(bytes(size - 9), b"v", (("hhhh", b"1"), ("hhhh", None))),
    "value beside others": lambda size: OutgoingRecord(bytes(MESSAGE - 8), bytes(size), (("hhhh", b"1234"),)),
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@pytest.fixture
async def publisher(producer: FakeProducer, clock: ManualClock) -> AsyncIterator[Publisher]:
    publisher = Publisher(producer, clock, Partitioner(), LIMITS)
    await publisher.start()
    yield publisher
    await publisher.stop(0)


async def refusal(publishing: Awaitable[Receipt]) -> PublishError:
    with pytest.raises(PublishError) as caught:
        await publishing
    return caught.value


class TestOneMessage:
    @shapes
    async def test_as_large_as_the_limit_it_is_published(
        self, publisher: Publisher, producer: FakeProducer, shape: Shape
    ) -> None:
        largest = shape(MESSAGE)
        assert size_of(largest) >= MESSAGE
        await publisher.publish("t", largest, 10)
        assert len(await publisher.publish_many("t", listed([SMALL, largest]), 10)) == 2
        assert len(producer.values("t")) == 3

    @shapes
    async def test_a_byte_larger_it_is_certainly_not_written_and_the_text_says_whose_limit_it_was(
        self, publisher: Publisher, producer: FakeProducer, shape: Shape
    ) -> None:
        too_large = shape(MESSAGE + 1)
        alone = await refusal(publisher.publish("t", too_large, 10))
        with pytest.raises(PublishManyError) as many:
            await publisher.publish_many("t", listed([SMALL, too_large, SMALL]), 10)
        assert list(many.value.failed) == [1]
        assert [receipt is None for receipt in many.value.receipts] == [False, True, False]
        for error in (alone, many.value.failed[1]):
            assert isinstance(error, MessageTooLarge)
            assert "max_message_bytes" in str(error)
            assert "KAFKA_MAX_MESSAGE_BYTES" in str(error)
            assert f"{MESSAGE + 1} bytes" in str(error)
            assert f"more than {MESSAGE}." in str(error)
            assert "certainly not written" in str(error)
        assert len(producer.values("t")) == 2
        assert publisher.status().failed == 2

    async def test_what_its_topic_finds_too_large_names_the_topics_limit(
        self, publisher: Publisher, producer: FakeProducer
    ) -> None:
        producer.script.append(Verdict.TOO_LARGE)
        error = await refusal(publisher.publish("t", THOUSAND, 10))
        assert isinstance(error, MessageTooLarge)
        assert "max.message.bytes of the topic" in str(error)
        assert "max_message_bytes" not in str(error)


class TestAllThatWait:
    async def test_beyond_the_limit_the_next_fails_at_once_and_what_waits_goes_on(
        self, publisher: Publisher, producer: FakeProducer
    ) -> None:
        producer.gate.clear()
        waiting = await fill(publisher)
        error = await refusal(publisher.publish("t", THOUSAND, 10))
        assert type(error) is PublishFailed
        assert f"{EACH} bytes, beside {6 * EACH} that wait" in str(error)
        assert f"max_pending_bytes allows ({PENDING})" in str(error)
        assert "KAFKA_MAX_PENDING_BYTES" in str(error)
        assert "certainly not written; publish it again when less waits" in str(error)
        small = asyncio.create_task(publisher.publish("t", record("small"), 10))
        await until(lambda: publisher.status().pending == 7)
        producer.gate.set()
        await asyncio.gather(*waiting, small)

    @pytest.mark.parametrize("end", ["written", "refused", "overdue", "cancelled", "stopped", "no topic"])
    async def test_whatever_becomes_of_a_message_its_room_is_given_back(
        self, publisher: Publisher, producer: FakeProducer, clock: ManualClock, end: str
    ) -> None:
        if end == "no topic":
            producer.partitions = None
            producer.counting.clear()
        producer.gate.clear()
        waiting = await fill(publisher)
        if end == "refused":
            producer.script.extend([Verdict.REFUSED] * 6)
        if end in ("written", "refused"):
            producer.gate.set()
        elif end == "overdue":
            clock.advance(11)
        elif end == "cancelled":
            for task in waiting:
                task.cancel()
        elif end == "no topic":
            producer.counting.set()
        else:
            await publisher.stop(0)
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (publisher.status().pending, publisher._outstanding.bytes) == (0, 0)

    async def test_a_list_that_does_not_fit_as_a_whole_is_not_sent_at_all(
        self, publisher: Publisher, producer: FakeProducer
    ) -> None:
        producer.gate.clear()
        waiting = await fill(publisher, 4)
        with pytest.raises(PublishManyError, match="max_pending_bytes") as caught:
            await publisher.publish_many("t", listed([THOUSAND] * 3), 10)
        assert (list(caught.value.failed), caught.value.unknown) == ([0, 1, 2], {})
        assert caught.value.receipts == [None] * 3
        assert "publish it again when less waits" in str(caught.value)
        fitting = asyncio.create_task(publisher.publish_many("t", listed([THOUSAND] * 2), 10))
        await until(lambda: publisher.status().pending == 6)
        producer.gate.set()
        assert len(await fitting) == 2
        await asyncio.gather(*waiting)
        assert publisher.status().failed == 3

    async def test_a_list_that_never_fits_is_told_to_come_in_parts(self, publisher: Publisher) -> None:
        with pytest.raises(PublishManyError, match="publish it in parts"):
            await publisher.publish_many("t", listed([THOUSAND] * 20), 10)

    async def test_a_long_list_that_is_cancelled_while_it_is_taken_in_gives_all_its_room_back(
        self, producer: FakeProducer, clock: ManualClock
    ) -> None:
        publisher = Publisher(producer, clock, Partitioner(), PublishLimits(1_000, 10_000_000))
        await publisher.start()
        producer.gate.clear()
        task = asyncio.create_task(publisher.publish_many("t", listed([record(n) for n in range(5_000)]), 9))
        await until(lambda: 0 < publisher.status().pending < 5_000)
        assert publisher._outstanding.bytes > 5_000 * KEPT_BYTES
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert publisher._outstanding.bytes == 0
        await publisher.stop(0)


class TestLetters:
    async def test_a_letter_counts_against_none_of_these_and_may_be_larger(
        self, publisher: Publisher, producer: FakeProducer
    ) -> None:
        producer.gate.clear()
        waiting = await fill(publisher)
        (letter,) = begin_letters(publisher, [MESSAGE + 1])
        await until(lambda: publisher.status().pending == 7)
        assert publisher._outstanding.bytes == 6 * EACH
        producer.gate.set()
        await asyncio.gather(letter, *waiting)

    async def test_more_than_their_room_wait_for_each_other_in_the_order_they_came(
        self, publisher: Publisher, producer: FakeProducer
    ) -> None:
        producer.gate.clear()
        letters = begin_letters(publisher, [1_000, 1_500, 1_000, 9_000, 10])
        await until(lambda: publisher.status().pending == 2)
        producer.gate.set()
        await asyncio.gather(*letters)
        assert sorted(len(value or b"") for value in producer.values("dlq")) == [10, 1000, 1000, 1500, 9000]
        assert publisher._dead_letter_room._taken == 0

    async def test_waiting_for_room_counts_against_the_deadline(
        self, publisher: Publisher, producer: FakeProducer, clock: ManualClock
    ) -> None:
        producer.gate.clear()
        first, second = begin_letters(publisher, [3_000, 3_000])
        await until(producer.entered.is_set)
        clock.advance(10.1)
        error = await refusal(second)
        assert type(error) is PublishFailed
        assert "the letters before it were still waiting" in str(error)
        assert isinstance(await refusal(first), PublishUnknown)
        assert publisher.status().failed == 1
        producer.gate.set()
        await asyncio.gather(*begin_letters(publisher, [3_000]))

    @pytest.mark.parametrize("cancelled", [0, 1, 2])
    async def test_one_whose_caller_goes_away_leaves_its_room_to_the_next(
        self, publisher: Publisher, producer: FakeProducer, cancelled: int
    ) -> None:
        producer.gate.clear()
        letters = begin_letters(publisher, [3_000, 3_000, 3_000])
        await until(producer.entered.is_set)
        letters[cancelled].cancel()
        producer.gate.set()
        ended = await asyncio.gather(*letters, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in ended].count(True) == 1
        assert publisher._dead_letter_room._taken == 0


async def fill(publisher: Publisher, count: int = 6) -> list[asyncio.Task[Any]]:
    """So many wait, after which there is no room for another of their kind where `count` is 6."""
    waiting = [asyncio.create_task(publisher.publish("t", THOUSAND, 10)) for _ in range(count)]
    await until(lambda: publisher.status().pending == count)
    return waiting


def begin_letters(publisher: Publisher, sizes: list[int]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(write_letter(publisher, size)) for size in sizes]


async def write_letter(publisher: Publisher, size: int) -> None:
    async with publisher.room_for_dead_letter("dlq", size, 10):
        await publisher.publish("dlq", SHAPES["value"](size), 10, is_limited=False)
