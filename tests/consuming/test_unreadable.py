"""One letter about a batch that cannot be read; its partition waits for it, and then goes on behind."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from convex_messaging_fastapi.consuming.dead_letters import failure_to_read
from convex_messaging_fastapi.consuming.endings.bury import DLQ_UNAVAILABLE
from convex_messaging_fastapi.errors import PublishFailed, PublishUnknown, TopicUnavailable
from convex_messaging_fastapi.policies import DeadLetterPolicy
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import Unreadable
from tests.consuming.support import LETTERS, TOPIC, WHERE, Bench

BATCH = Unreadable(2, 5, "UnpacksTooLarge", "UnpacksTooLarge: a batch of 9 bytes", tries=3)
LETTER = (Record(TOPIC, 0, 2, -1, None, None), failure_to_read(BATCH, "g"))
CANNOT = [PublishFailed("no"), PublishUnknown("who knows"), TopicUnavailable("no such topic")]


def bench_of(handled: list[int], *, dead_letter: DeadLetterPolicy = "bury", bury: bool = True) -> Bench:
    async def handle(message: int) -> None:
        handled.append(message)

    return Bench(handle, commit_interval=None, buries_unreadable=bury, dead_letter=dead_letter)


async def met(bench: Bench) -> None:
    """Two records, and a batch behind them that cannot be read."""
    bench.transport.assign()
    bench.transport.unreadable[WHERE] = BATCH
    bench.transport.feed(0, 1)
    await bench.turns()


@pytest.mark.parametrize("dead_letter", get_args(DeadLetterPolicy))
async def test_a_letter_is_written_and_what_stands_behind_is_handled(dead_letter: DeadLetterPolicy) -> None:
    """Whatever handlers do with their own failures; and one letter for all of them."""
    handled: list[int] = []
    async with bench_of(handled, dead_letter=dead_letter) as bench:

        async def other(message: int) -> None: ...

        bench.worker.add(bench.subscribe(other, "other", dead_letter=dead_letter))
        await met(bench)
        assert bench.graveyard.buried == [LETTER]
        assert bench.transport.passed == [(1, WHERE, BATCH)]
        assert bench.transport.committed == {WHERE: 5}, "though nothing came behind it"
        bench.transport.feed(5, 6)
        await bench.turns()
        assert bench.transport.committed == {WHERE: 7}
    assert handled == [0, 1, 5, 6]


async def test_without_the_setting_it_waits() -> None:
    handled: list[int] = []
    async with bench_of(handled, bury=False) as bench:
        await met(bench)
        await bench.advance(120)
        assert (bench.graveyard.buried, bench.transport.passed) == ([], [])
        assert bench.transport.committed == {WHERE: 2}


async def test_one_letter_is_written_however_often_it_is_told_of() -> None:
    async with bench_of([]) as bench:
        bench.graveyard.gate = asyncio.Event()
        await met(bench)
        await bench.advance(30)
        assert bench.transport.committed == {WHERE: 2}
        assert bench.transport.passed == []
        bench.graveyard.gate.set()
        await bench.turns()
        assert bench.graveyard.buried == [LETTER]


@pytest.mark.parametrize("error", CANNOT, ids=lambda error: type(error).__name__)
async def test_while_the_letter_cannot_be_written_nothing_is_lost_and_the_partition_waits(
    error: Exception,
) -> None:
    handled: list[int] = []
    elsewhere = TopicPartition(TOPIC, 1)
    async with bench_of(handled) as bench:
        bench.graveyard.refuses = error
        bench.transport.assign(WHERE, elsewhere)
        bench.transport.unreadable[WHERE] = BATCH
        bench.transport.feed(0, 1)
        await bench.advance(60)
        bench.transport.feed(7, where=elsewhere)
        await bench.turns()
        assert (handled, bench.transport.passed) == ([0, 1, 7], [])
        assert bench.transport.committed == {WHERE: 2, elsewhere: 8}
        held = {owned.topic_partition: owned.held for owned in bench.worker.partitions}
        assert held == {WHERE: DLQ_UNAVAILABLE, elsewhere: None}
        assert bench.worker.alive

        bench.graveyard.refuses = None
        await bench.advance(10)
        assert bench.graveyard.buried == [LETTER]
        assert bench.transport.committed == {WHERE: 5, elsewhere: 8}
        assert not any(owned.held for owned in bench.worker.partitions)


async def test_what_is_read_after_all_holds_nothing_up_and_is_not_passed_over() -> None:
    handled: list[int] = []
    async with bench_of(handled) as bench:
        bench.graveyard.refuses = PublishFailed("no")
        await met(bench)
        assert [owned.held for owned in bench.worker.partitions] == [DLQ_UNAVAILABLE]
        bench.transport.unreadable.clear()
        bench.transport.feed(2, 3, 4)
        await bench.advance(1)
        bench.graveyard.refuses = None
        await bench.advance(30)
        assert (bench.graveyard.buried, bench.transport.passed) == ([], [])
    assert handled == [0, 1, 2, 3, 4]


async def test_another_batch_in_its_place_has_a_letter_of_its_own() -> None:
    async with bench_of([]) as bench:
        bench.graveyard.gate = asyncio.Event()
        await met(bench)
        bench.transport.unreadable[WHERE] = another = BATCH._replace(first=3)
        await bench.advance(1)
        bench.graveyard.gate.set()
        await bench.turns()
        assert [record.offset for record, _ in bench.graveyard.buried] == [3]
        assert bench.transport.passed == [(1, WHERE, another)]


async def test_the_same_batch_after_another_assignment_has_it_again() -> None:
    """At least once: what the one before had begun is not known to have been written."""
    async with bench_of([]) as bench:
        bench.graveyard.gate = asyncio.Event()
        await met(bench)
        revoking = bench.transport.revoke(bench.clock.now() + 10)
        await bench.turns()
        assert revoking.done(), "no letter holds up a revocation"
        assert bench.transport.passed == []
        bench.transport.assign(start=2)
        bench.graveyard.gate.set()
        await bench.turns()
        assert bench.transport.passed == [(2, WHERE, BATCH)]
        assert bench.transport.committed == {WHERE: 5}


async def test_no_letter_is_written_about_letters() -> None:
    async def handle(message: int) -> None: ...

    letters = TopicPartition(LETTERS, 0)
    async with Bench(handle, buries_unreadable=True, topics=(TOPIC, LETTERS)) as bench:
        bench.transport.assign(WHERE, letters)
        bench.transport.unreadable |= {WHERE: BATCH, letters: BATCH}
        bench.transport.ring()
        await bench.advance(10)
        assert [where for _, where, _ in bench.transport.passed] == [WHERE]


async def test_where_nobody_handles_its_topic_any_more_no_letter_is_written() -> None:
    async with bench_of([]) as bench:
        bench.transport.assign()
        await bench.worker.detach("handler", 0)
        bench.transport.unreadable[WHERE] = BATCH
        bench.transport.ring()
        await bench.advance(10)
        assert (bench.graveyard.buried, bench.transport.passed) == ([], [])


async def test_a_defect_in_writing_it_is_told_to_who_restarts_us(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench_of([]) as bench:
        bench.graveyard.refuses = ValueError("a defect")
        await met(bench)
        await bench.advance(10)
        assert not bench.worker.alive
        assert bench.transport.committed == {WHERE: 2}
    told = [record for record in caplog.records if "convex-unreadable g ended" in record.message]
    assert len(told) == 1


async def test_a_worker_that_stops_leaves_no_letter_behind() -> None:
    async with bench_of([]) as bench:
        bench.graveyard.gate = asyncio.Event()
        await met(bench)
    assert not [task for task in asyncio.all_tasks() if "unreadable" in task.get_name()]
    assert bench.transport.committed == {WHERE: 2}
