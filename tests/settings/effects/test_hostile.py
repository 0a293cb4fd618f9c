"""Settings that decide what a message may be, and what is told of one that failed."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from convex_messaging_fastapi import Batch, BatchFailed, DeadLetterMessage, Reject, Retry, RetryAfter
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.transport.base import NewTopic
from tests.settings.effects.test_consuming import bus_with

CARD = "4111111111111111"


async def test_max_message_bytes_is_how_large_a_message_may_be_that_is_decoded() -> None:
    bus = bus_with(max_message_bytes=1024)
    texts: list[str] = []
    raw: list[bytes] = []

    @bus.subscriber("notes", id="read")
    async def read(text: str) -> None:
        texts.append(text)

    @bus.subscriber("notes", id="copy")
    async def copy(value: bytes) -> None:
        raw.append(value)

    async with bus.test() as t:
        for length in (1022, 1023):  # and two quotation marks
            t.broker.append(_notes(t), [_record(b'"' + b"a" * length + b'"')])
        await t.settle()
        (letter,) = t.dead_letters()
        assert letter.original_value() == b'"' + b"a" * 1023 + b'"'
        assert "1025 bytes, and max_message_bytes is 1024" in letter.error_message
        assert letter.attempts == 1, "another try cannot help"
    assert texts == ["a" * 1022]
    assert [len(value) for value in raw] == [1024, 1025], "bytes are not decoded"


async def test_max_message_items_is_how_many_members_a_message_may_have_that_is_decoded() -> None:
    bus = bus_with(max_message_items=100)
    sums: list[int] = []

    @bus.subscriber("notes")
    async def add(numbers: list[int]) -> None:
        sums.append(sum(numbers))

    async with bus.test() as t:
        for members in (100, 101):
            await bus.publish("notes", [1] * members)
        await t.settle()
        (letter,) = t.dead_letters()
        assert "more members than max_message_items (100)" in letter.error_message
    assert sums == [100]


async def test_what_is_out_of_bounds_in_a_batch_is_buried_and_the_others_are_handled() -> None:
    bus = bus_with(max_message_items=100)
    seen: list[int] = []

    @bus.subscriber("notes", batch=Batch(max_records=10, max_wait_seconds=0.1))
    async def count(lists: list[list[int]]) -> None:
        seen.extend(len(numbers) for numbers in lists)

    async with bus.test() as t:
        for members in (1, 101, 2):
            await bus.publish("notes", [1] * members, key="one")
        await t.settle()
        assert len(t.dead_letters()) == 1
    assert seen == [1, 2]


async def test_a_letter_may_be_larger_than_the_message_that_it_is_about() -> None:
    bus = bus_with(max_message_bytes=100_000, max_message_items=5)
    letters: list[DeadLetterMessage] = []

    @bus.subscriber("notes")
    async def fail(value: bytes) -> None:
        raise Reject

    @bus.subscriber("dlq")
    async def note(letter: DeadLetterMessage) -> None:
        letters.append(letter)

    async with bus.test() as t:
        t.broker.append(_notes(t), [_record(b"\xff" * 99_000)])
        await t.settle()
        assert t.dead_letters() == letters
        assert len(t.published("dlq")) == 1
    (letter,) = letters
    assert letter.original_value() == b"\xff" * 99_000


def _cause() -> Exception:
    error = ValueError(f"card {CARD} is closed")
    error.__cause__ = KeyError(CARD)
    return error


RAISED: dict[str, Exception | BaseException] = {
    "a text": ValueError(f"card {CARD}"),
    "a key": KeyError(CARD),
    "a cause": _cause(),
    "a reason": Reject(f"no card {CARD}"),
    "a reason to wait": RetryAfter(1, f"card {CARD} is busy"),
    "a reason of a batch": BatchFailed(0, f"card {CARD}"),
    "a group": ExceptionGroup(CARD, [ValueError(CARD)]),
    "an exit": SystemExit(CARD),
}


@pytest.mark.parametrize("raised", RAISED.values(), ids=RAISED)
@pytest.mark.parametrize("told", [False, True])
async def test_error_texts_false_tells_the_type_and_the_place_and_no_text(
    raised: BaseException, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bus = bus_with(error_texts=told)
    caplog.set_level(logging.DEBUG)

    @bus.subscriber("notes", retry=Retry(attempts=2, delay_seconds=1))
    async def collect(note: dict[str, Any]) -> None:
        raise raised

    async with bus.test() as t:
        await bus.publish("notes", {})
        await t.settle()
        (letter,) = t.dead_letters()
    said = f"{letter.error_message}\n{letter.stack_trace}\n{caplog.text}"
    assert (CARD in said) is told
    assert letter.exception_type
    assert letter.exception_type in letter.error_message or told
    assert "in collect" in (letter.stack_trace or "") or isinstance(raised, SystemExit)
    assert "KeyError" not in (letter.stack_trace or "") or told or isinstance(raised, KeyError)


async def test_error_texts_false_still_tells_what_was_wrong_with_the_bytes() -> None:
    bus = bus_with(error_texts=False)

    @bus.subscriber("notes")
    async def add(numbers: list[int]) -> None: ...

    async with bus.test() as t:
        await bus.publish("notes", [CARD + "x"])
        await t.settle()
        (letter,) = t.dead_letters()
    assert "0: Input should be a valid integer" in letter.error_message
    assert CARD not in f"{letter.error_message}{letter.stack_trace}"


def _notes(t: TestBench) -> TopicPartition:
    t.broker.ensure(NewTopic("convex.notes", partitions=1))
    return TopicPartition("convex.notes", 0)


def _record(value: bytes) -> OutgoingRecord:
    return OutgoingRecord(None, value)
