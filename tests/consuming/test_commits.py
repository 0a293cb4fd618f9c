"""A partition whose commits are not stored is tried again in its own time, and is told of."""

from __future__ import annotations

import asyncio
import logging

import pytest

from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.commit_retries import TELL_AFTER_SECONDS
from convex_messaging_fastapi.consuming.commits import REFUSED_RETRY_SECONDS, RETRY_SECONDS
from convex_messaging_fastapi.consuming.snapshots import worker_status
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome
from tests.consuming.support import TOPIC, WHERE, Bench

MIB = 1024 * 1024
OTHER = TopicPartition(TOPIC, 1)
NOT_STORED = [CommitOutcome.FAILED, CommitOutcome.UNKNOWN, CommitOutcome.REFUSED]


async def handler(message: int) -> None: ...


def tries(bench: Bench, where: TopicPartition) -> int:
    return sum(where in offsets for _, offsets in bench.transport.commits)


def failing(bench: Bench) -> set[TopicPartition]:
    status = worker_status(bench.worker, bench.clock)
    return {TopicPartition(commits.topic, commits.partition) for commits in status.commits_failing}


@pytest.mark.parametrize("fate", NOT_STORED)
@pytest.mark.parametrize("commit_interval", [5.0, None])
async def test_a_partition_whose_commits_are_not_stored_holds_up_no_other(
    fate: CommitOutcome, commit_interval: float | None
) -> None:
    limits = Limits(max_uncommitted=10, max_buffer_records=1000, max_buffer_bytes=64 * MIB)
    async with Bench(handler, limits=limits, commit_interval=commit_interval) as bench:
        bench.transport.assign(WHERE, OTHER)
        bench.transport.fates = {WHERE: fate}
        for step in range(20):
            bench.transport.feed(*range(5 * step, 5 * step + 5), where=WHERE)
            bench.transport.feed(*range(5 * step, 5 * step + 5), where=OTHER)
            await bench.advance(1)
        await bench.advance(5)
        other, stuck = (
            next(owned.ledger for owned in bench.worker.partitions if owned.topic_partition == where)
            for where in (OTHER, WHERE)
        )
        assert other.committed == other.position == 100
        assert (stuck.committed, stuck.position) == (0, 10), "it stands at max_uncommitted"


@pytest.mark.parametrize(
    ("fate", "commit_interval", "pause"),
    [
        (CommitOutcome.FAILED, 5.0, RETRY_SECONDS),
        (CommitOutcome.UNKNOWN, 5.0, RETRY_SECONDS),
        (CommitOutcome.REFUSED, 5.0, 5.0),
        (CommitOutcome.REFUSED, None, REFUSED_RETRY_SECONDS),
        (CommitOutcome.REFUSED, 3600.0, REFUSED_RETRY_SECONDS),
    ],
)
async def test_how_often_it_is_tried_again_and_that_it_heals(
    fate: CommitOutcome, commit_interval: float | None, pause: float
) -> None:
    async with Bench(handler, commit_interval=commit_interval) as bench:
        bench.transport.fates = {WHERE: fate}
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        before = tries(bench, WHERE)
        await bench.advance(4 * pause + 0.5)
        assert tries(bench, WHERE) - before == 4
        bench.transport.fates = {}
        await bench.advance(pause)
        assert bench.transport.committed == {WHERE: 1}
        assert not failing(bench)


async def test_a_refused_partition_that_goes_on_being_handled_makes_no_commits_of_its_own() -> None:
    limits = Limits(max_uncommitted=100, max_buffer_records=1000, max_buffer_bytes=64 * MIB)
    async with Bench(handler, limits=limits, commit_interval=20) as bench:
        bench.transport.assign()
        await bench.turns()
        bench.transport.fates = {WHERE: CommitOutcome.REFUSED}
        for offset in range(100):
            bench.transport.feed(offset)
            await bench.advance(0.1)
        assert tries(bench, WHERE) == 2, "the first of the assignment, and one when half was used up"


@pytest.mark.parametrize("fate", NOT_STORED)
async def test_one_warning_says_so_and_one_that_it_is_over(
    fate: CommitOutcome, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bench(handler) as bench:
        bench.transport.assign()
        await bench.turns()
        bench.transport.fates = {WHERE: fate}
        bench.transport.feed(0)
        await bench.advance(5.2)
        assert (WHERE in failing(bench)) is (fate is CommitOutcome.REFUSED), "it may pass, or it may not"
        await bench.advance(TELL_AFTER_SECONDS + 30)
        [told] = worker_status(bench.worker, bench.clock).commits_failing
        assert (told.topic, told.partition, told.reason) == (*WHERE, "the broker's word")
        assert told.times == tries(bench, WHERE) - 1
        bench.transport.fates = {}
        await bench.advance(6)
        assert not failing(bench)
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert "cannot be committed" in warnings[0]
    assert "the broker's word" in warnings[0]
    assert "are committed again" in warnings[1]


@pytest.mark.parametrize("fate", NOT_STORED)
async def test_one_line_is_for_all_partitions_that_fail_alike(
    fate: CommitOutcome, caplog: pytest.LogCaptureFixture
) -> None:
    several = [TopicPartition(WHERE.topic, number) for number in range(7)]
    async with Bench(handler) as bench:
        bench.transport.assign(*several)
        await bench.turns()
        bench.transport.fates = dict.fromkeys(several, fate)
        for where in several:
            bench.transport.feed(0, where=where)
        await bench.advance(TELL_AFTER_SECONDS + 30)
        bench.transport.fates = {}
        await bench.advance(30)
    told, over = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    named = f"{WHERE.topic}/0-6"
    assert told.startswith(
        f"group g: offsets of 7 partitions cannot be committed: {named}: the broker's word; "
    )
    assert over.startswith(f"group g: offsets of 7 partitions are committed again: {named}, after ")


async def test_what_is_not_held_any_more_is_not_told_of_and_makes_nothing_due() -> None:
    async with Bench(handler) as bench:
        bench.transport.fates = {WHERE: CommitOutcome.REFUSED, OTHER: CommitOutcome.REFUSED}
        bench.transport.assign(WHERE, OTHER)
        await bench.turns()
        assert failing(bench) == {WHERE, OTHER}
        await bench.transport.revoke(bench.clock.now() - 1)
        before = len(bench.transport.commits)
        await bench.advance(60)
        assert len(bench.transport.commits) == before
        bench.transport.assign(OTHER)
        await bench.turns()
        assert failing(bench) == {OTHER}
        assert bench.transport.commits[-1][1].keys() == {OTHER}, "another assignment tries at once"


@pytest.mark.parametrize("drained", [True, False])
async def test_what_is_refused_holds_up_neither_a_revocation_nor_a_stop(drained: bool) -> None:
    async with Bench(handler) as bench:
        bench.transport.assign(WHERE, OTHER)
        await bench.turns()
        bench.transport.fates = {WHERE: CommitOutcome.REFUSED}
        bench.transport.feed(0, where=WHERE)
        bench.transport.feed(0, where=OTHER)
        await bench.turns()
        began = bench.clock.now()
        ending: asyncio.Task[None] = (
            bench.transport.revoke(began + 5)
            if drained
            else asyncio.ensure_future(bench.worker.stop(5.0, began + 10))
        )
        await bench.turns()
        await asyncio.wait_for(ending, 1)
        assert bench.clock.now() == began
        assert bench.transport.committed[OTHER] == 1
        assert tries(bench, WHERE) == 2


async def test_the_last_commit_tries_again_only_what_may_be_mended() -> None:
    async with Bench(handler) as bench:
        bench.transport.assign(WHERE, OTHER)
        await bench.turns()
        bench.transport.fates = {WHERE: CommitOutcome.REFUSED, OTHER: CommitOutcome.FAILED}
        bench.transport.feed(0, where=WHERE)
        bench.transport.feed(0, where=OTHER)
        await bench.turns()
        revoking = bench.transport.revoke(bench.clock.now() + 5)
        await bench.advance(1)
        assert not revoking.done()
        bench.transport.fates = {}
        await bench.advance(0.3)
        await asyncio.wait_for(revoking, 1)
        assert tries(bench, WHERE) == 2
        assert bench.transport.committed[OTHER] == 1
