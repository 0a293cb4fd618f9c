"""A list of a hundred thousand letters costs little more than reading them, and leaves the loop to handlers.

What is measured is this thread's own CPU time, against the same letters read and decoded in the same run.
"""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from statistics import median

import pytest

from convex_messaging_fastapi.operations import Filter
from convex_messaging_fastapi.operations.states import StateOfLetter, record_of
from convex_messaging_fastapi.operations.values import LetterPlace, StateChange
from convex_messaging_fastapi.records import TopicPartition
from tests.operations.listing_alone import longest_block
from tests.operations.support import AT, DLQ, STATES, Desk, a_letter, original

pytestmark = pytest.mark.cpu

MIB = 1024 * 1024
RATIO = 3.0
BLOCK_SECONDS = 0.020
BLOCK_SECONDS_OF_LARGE = 0.050
BYTES_EACH = 600
LARGE_MEMORY = 64 * MIB

COUNTS = pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])


def desk_with(count: int, value: bytes) -> Desk:
    """So many letters about messages of this value, in four partitions, and a state of every tenth."""
    desk = Desk(partitions=4)
    letter = a_letter(original(value=value))
    others = [header for header in letter.headers if header[0] != "message-id"]
    for number in range(count):
        headers = (("message-id", str(uuid.UUID(int=number)).encode()), *others)
        desk.broker.append(TopicPartition(DLQ, number % 4), [letter._replace(headers=headers)])
    for record in desk.broker.records(DLQ)[::10]:
        place = LetterPlace(record.topic, record.partition, record.offset, record.timestamp_ms)
        state = StateOfLetter(place, (StateChange("discarded", AT, "ada"),))
        desk.broker.append(TopicPartition(STATES, 0), [record_of(state)])
    return desk


def of_1500_bytes() -> bytes:
    value = json.dumps({"BetId": 1, "Note": 'card "4711" refused, ' * 27}).encode()
    assert 1400 < len(a_letter(original(value=value)).value or b"") < 1600
    return value


def of_5_megabytes() -> bytes:
    value = json.dumps({"Note": ['"quoted", and more of it'] * 160_000}).encode()
    assert len(a_letter(original(value=value)).value or b"") > 5 * MIB
    return value


@contextmanager
def nothing_else_collected() -> Iterator[None]:
    """What this process holds is no garbage of the list's; and a real broker is another process."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def cpu_seconds(call: Callable[[], Awaitable[object]]) -> float:
    began = time.thread_time()
    await call()
    return time.thread_time() - began


async def read_and_decoded(desk: Desk) -> int:
    """The least that a list of letters has to do."""
    reader = desk.parts.transport.log_reader()
    count = 0
    async with aclosing(reader.read(await reader.ranges(DLQ))) as lists:
        async for records in lists:
            for record in records:
                count += json.loads(record.value or b"")["Attempts"] > 0
    return count


@COUNTS
async def test_letters_are_listed_in_groups_in_three_times_what_reading_them_takes(count: int) -> None:
    desk = desk_with(count, of_1500_bytes())

    async def listed() -> None:
        desk.forget()
        page = await desk.operations.dead_letters()
        assert (page.matched, page.scanned, len(page.letters)) == (count - count // 10, count, 200)

    with nothing_else_collected():
        ratios = []
        for _ in range(3):
            raw = await cpu_seconds(lambda: read_and_decoded(desk))
            ratios.append(await cpu_seconds(listed) / raw)
    print(f"{count} letters are listed in {median(ratios):.2f} times what reading and decoding takes")  # noqa: T201
    assert median(ratios) <= RATIO


@COUNTS
async def test_the_loop_is_left_to_others_every_few_milliseconds(count: int) -> None:
    desk = desk_with(count, of_1500_bytes())
    with nothing_else_collected():
        blocks = []
        for _ in range(3):
            desk.forget()
            blocks.append(await longest_block(desk.operations.dead_letters))
    print(f"{count} letters block the loop for {min(blocks) * 1000:.1f} ms at most")  # noqa: T201
    assert min(blocks) <= BLOCK_SECONDS


@COUNTS
async def test_a_letter_is_held_as_a_few_numbers_and_never_as_a_record(count: int) -> None:
    desk = desk_with(count, of_1500_bytes())
    await desk.operations.dead_letters()
    desk.forget()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await desk.operations.dead_letters()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{count} letters take {(peak - before) / count:.0f} bytes each, {(peak - before) / MIB:.1f} MiB")  # noqa: T201
    assert peak - before <= BYTES_EACH * count + 4 * MIB


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
async def test_letters_of_five_megabytes_block_the_loop_shortly_and_take_little_memory(count: int) -> None:
    desk = desk_with(count, of_5_megabytes())
    with nothing_else_collected():
        blocks = []
        for _ in range(3):
            desk.forget()
            blocks.append(await longest_block(desk.operations.dead_letters))
    print(f"{count} letters of 5 MB block the loop for {min(blocks) * 1000:.1f} ms at most")  # noqa: T201
    assert min(blocks) <= BLOCK_SECONDS_OF_LARGE
    desk.forget()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        page = await desk.operations.dead_letters(Filter(state="all"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert page.matched == count
    print(f"and take {(peak - before) / MIB:.1f} MiB")  # noqa: T201
    assert peak - before <= LARGE_MEMORY
