"""A commit is believed within what an owner can have finished; what is beyond that is told, and handled."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.clock import ManualClock, SystemClock
from convex_messaging_fastapi.consuming.offset_metadata import Range, encode
from convex_messaging_fastapi.consuming.opening import CLOCKS_APART_SECONDS, USUAL_SPAN, Opening
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.status import PartitionStatus
from convex_messaging_fastapi.transport.base import NewTopic, Position
from convex_messaging_fastapi.transport.memory import shared_broker
from tests.bus.support import memory_bus
from tests.support.waiting import eventually

FAR = 2**62


def now_ms(clock: ManualClock) -> int:
    return int(clock.unix() * 1000)


@st.composite
def commits(draw: st.DrawFn) -> tuple[int, list[Range], int]:
    """A committed offset, any ranges above it, and any time before or after that of the reader."""
    committed = end = draw(st.integers(0, 2**40))
    ranges = []
    for ahead, length in draw(
        st.lists(st.tuples(st.integers(1, 2**20), st.integers(1, 2**62)), min_size=1, max_size=10)
    ):
        ranges.append(Range(end + ahead, end + ahead + length))
        end = ranges[-1].end
    return committed, ranges, draw(st.integers(-(2**31), 2**31))


@given(commit=commits(), span=st.integers(1, 100_000), log=st.none() | st.integers(0, 200_000))
def test_nothing_is_passed_over_that_no_owner_can_have_finished(
    commit: tuple[int, list[Range], int], span: int, log: int | None
) -> None:
    committed, ranges, ahead_ms = commit
    clock = ManualClock()
    at_ms = now_ms(clock) + ahead_ms
    end = None if log is None else committed + log
    opened = Opening(clock, span).open(Position(committed, encode(committed, ranges, at_ms), end))
    believed_below = committed + max(span, USUAL_SPAN)
    if end is not None:
        believed_below = min(believed_below, end)
    edges = {n for each in ranges for n in (each.start, each.end - 1)} | {believed_below - 1, believed_below}
    for offset in sorted(edges):
        if offset < committed:
            continue
        is_named = any(each.start <= offset < each.end for each in ranges)
        is_in_time = ahead_ms <= CLOCKS_APART_SECONDS * 1000
        expected = is_named and is_in_time and offset < believed_below
        assert opened.ledger.pass_over(offset, at_ms) == expected
    assert opened.passed_over + opened.not_believed == sum(each.end - each.start for each in ranges)
    assert opened.passed_over <= max(0, believed_below - committed)


def test_what_an_owner_finished_is_believed_though_its_clock_was_a_little_ahead() -> None:
    clock = ManualClock()
    for seconds in (-3600, 0, CLOCKS_APART_SECONDS):
        text = encode(5, [Range(7, 9)], now_ms(clock) + int(seconds * 1000))
        assert Opening(clock, 100).open(Position(5, text, 9)).passed_over == 2
    text = encode(5, [Range(7, 9)], now_ms(clock) + int(CLOCKS_APART_SECONDS * 1000) + 1)
    opened = Opening(clock, 100).open(Position(5, text, 9))
    assert (opened.passed_over, opened.not_believed) == (0, 2)


def test_what_is_not_believed_is_not_told_on() -> None:
    clock = ManualClock()
    opened = Opening(clock, 100).open(Position(0, encode(0, [Range(1, FAR)], now_ms(clock)), 3))
    opened.ledger.enter(0, 1)
    assert [*opened.ledger.finished_above()] == [Range(1, 3)]


TOPIC = "convex.numbers"


@pytest.mark.parametrize(
    ("ranges", "ahead_seconds", "skipped"),
    [
        ([Range(0, FAR)], 0, {0, 1, 2}),
        ([Range(1, 2), Range(2**40, FAR)], 0, {1}),
        ([Range(3, FAR)], 0, set()),
        ([Range(0, FAR)], 3600, set()),
        ([Range(0, FAR)], -3600, set()),
    ],
    ids=["all", "some", "to come", "from the future", "before they were written"],
)
async def test_a_forged_commit_skips_nothing_that_is_to_come_and_what_it_skips_is_told(
    ranges: list[Range], ahead_seconds: int, skipped: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    name = f"forged-{len(ranges)}-{ahead_seconds}-{len(skipped)}"
    broker = shared_broker(name, SystemClock())
    broker.ensure(NewTopic(TOPIC, 1))
    where = TopicPartition(TOPIC, 0)
    broker.append(where, [OutgoingRecord(None, b"%d" % n) for n in range(3)])
    with broker.group("bets") as group:
        said_at_ms = int((time.time() + ahead_seconds) * 1000)
        group.offsets[where] = Position(0, encode(0, ranges, said_at_ms))
    bus = memory_bus(bootstrap_servers=f"memory://{name}")
    got: list[int] = []

    @bus.subscriber("numbers")
    async def handle(message: int) -> None:
        got.append(message)

    async with bus:
        await eventually(lambda: bus.status().workers[0].partitions, 10, "the assignment")
        broker.append(where, [OutgoingRecord(None, b"%d" % n) for n in range(3, 8)])
        await eventually(lambda: 7 in got, 10, "the last of them")
        assert got == [n for n in range(8) if n not in skipped]
        assert the_partition(bus.status().workers[0].partitions).passed_over == len(skipped)
    lines = [record for record in caplog.records if "passes over" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].levelno == logging.INFO
    assert broker.committed("bets")[where] == Position(8)


def the_partition(partitions: tuple[PartitionStatus, ...]) -> PartitionStatus:
    [one] = partitions
    return one


async def test_an_assignment_with_nothing_to_pass_over_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bus = memory_bus()

    @bus.subscriber("numbers")
    async def handle(message: int) -> None: ...

    async with bus.test() as t:
        await bus.publish("numbers", 1)
        await t.settle()
    assert "passes over" not in caplog.text
