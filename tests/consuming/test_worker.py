"""A worker takes in no more than it may, and lets go of what it holds without losing or passing anything."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.commits import RETRY_SECONDS
from convex_messaging_fastapi.consuming.endings.bury import DLQ_UNAVAILABLE
from convex_messaging_fastapi.errors import PublishFailed
from convex_messaging_fastapi.records import Delivery, TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome
from tests.consuming.support import TOPIC, WHERE, Bench

MIB = 1024 * 1024


async def fails(message: int) -> None:
    raise RuntimeError("on purpose")


class Handler:
    """Waits at a gate for the offsets in `slow`, and remembers what it began, finished and was told."""

    def __init__(self, *slow: int) -> None:
        self.slow = set(slow)
        self.gate = asyncio.Event()
        self.begun: list[int] = []
        self.finished: list[int] = []
        self.cancelled: list[int] = []
        self.deliveries: dict[int, Delivery] = {}

    async def __call__(self, message: int, delivery: Delivery) -> None:
        self.begun.append(message)
        self.deliveries[message] = delivery
        try:
            if message in self.slow:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(message)
            raise
        self.finished.append(message)


class Turnstile:
    """A handler of which each call waits until the test lets one more through."""

    def __init__(self) -> None:
        self.begun = 0
        self.passes = asyncio.Semaphore(0)

    async def __call__(self, message: int) -> None:
        self.begun += 1
        await self.passes.acquire()


async def test_finished_work_is_committed_at_the_interval() -> None:
    handler = Handler()
    async with Bench(handler, commit_interval=5) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.turns()
        assert handler.finished == [0, 1, 2]
        assert bench.transport.committed == {WHERE: 0}, "only where the assignment starts"

        await bench.advance(5)
        assert bench.transport.committed == {WHERE: 3}


async def test_without_an_interval_work_is_committed_as_soon_as_it_is_finished() -> None:
    async with Bench(Handler(), commit_interval=None) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.turns()

        assert bench.transport.committed == {WHERE: 3}


async def test_half_of_the_span_finished_makes_a_commit_due() -> None:
    limits = Limits(max_uncommitted=10, max_buffer_records=100, max_buffer_bytes=64 * MIB)
    async with Bench(Handler(), limits=limits, commit_interval=3600) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(4))
        await bench.turns()
        assert bench.transport.committed == {WHERE: 0}

        bench.transport.feed(4)
        await bench.turns()
        assert bench.transport.committed == {WHERE: 5}


async def test_nothing_past_the_span_is_handed_out_while_the_oldest_is_unfinished() -> None:
    limits = Limits(max_uncommitted=10, max_buffer_records=100, max_buffer_bytes=64 * MIB)
    handler = Handler(0)
    async with Bench(handler, limits=limits) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(30))
        for _ in range(10):
            await bench.advance(5)
        assert max(handler.begun) == 9

        handler.gate.set()
        for _ in range(10):
            await bench.advance(5)
        assert handler.finished == [*range(1, 10), 0, *range(10, 30)]


async def test_a_full_buffer_stops_fetching_and_a_finished_record_starts_it_again() -> None:
    limits = Limits(max_uncommitted=1000, max_buffer_records=4, max_buffer_bytes=64 * MIB)
    handler = Handler(*range(100))
    async with Bench(handler, limits=limits) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(20))
        await bench.turns()
        assert handler.begun == [0, 1, 2, 3]
        assert bench.transport.wants[-1] == {WHERE: 4}

        handler.gate.set()
        handler.slow.clear()
        await bench.turns()
        assert sorted(handler.finished) == list(range(20))


FOR_SIXTEEN = Limits(max_uncommitted=1000, max_buffer_records=16, max_buffer_bytes=64 * MIB)


async def filled(bench: Bench) -> int:
    """Feed more than the buffer holds; how often the worker had fetched when it was full."""
    bench.transport.assign()
    bench.transport.feed(*range(100))
    await bench.turns()
    return len(bench.transport.wants)


@pytest.mark.parametrize("commit_interval", [5.0, None])
async def test_a_full_buffer_is_filled_in_one_go_while_all_handlers_have_work(
    commit_interval: float | None,
) -> None:
    handler = Turnstile()
    async with Bench(handler, limits=FOR_SIXTEEN, concurrency=4, commit_interval=commit_interval) as bench:
        before = await filled(bench)

        handler.passes.release()
        await bench.turns()
        assert bench.transport.wants[before:] == [], "one record would cost as much as two"
        handler.passes.release()
        await bench.turns()
        assert bench.transport.wants[before] == {WHERE: 2}


async def test_a_record_makes_room_once_all_who_handle_it_have_finished() -> None:
    one, other = Turnstile(), Turnstile()
    async with Bench(one, limits=FOR_SIXTEEN, concurrency=4) as bench:
        bench.worker.add(bench.subscribe(other, id="other", concurrency=4))
        before = await filled(bench)

        one.passes.release()
        other.passes.release()
        await bench.turns()
        assert bench.transport.wants[before:] == []


async def test_a_commit_waits_for_every_handler_of_a_message() -> None:
    slow_may_end = asyncio.Event()

    async def quick(message: int) -> None: ...

    async def slow(message: int) -> None:
        await slow_may_end.wait()

    bench = Bench(quick, commit_interval=None)
    bench.worker.add(bench.subscribe(slow, id="slow"))
    async with bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.turns()
        (owned,) = bench.worker.partitions
        assert bench.transport.committed == {WHERE: 0}
        assert (owned.ledger.unfinished, owned.ledger.bytes_unfinished) == (2, 2 * len(b"key-00"))

        slow_may_end.set()
        await bench.turns()
        assert bench.transport.committed == {WHERE: 2}
        assert (owned.ledger.unfinished, owned.ledger.bytes_unfinished) == (0, 0)


async def test_a_full_buffer_is_topped_up_before_long_in_any_case() -> None:
    handler = Turnstile()
    async with Bench(handler, limits=FOR_SIXTEEN, concurrency=4) as bench:
        before = await filled(bench)

        handler.passes.release()
        await bench.advance(0.3)
        assert bench.transport.wants[before] == {WHERE: 1}


async def test_handlers_that_end_together_beside_a_buffer_that_backs_off_are_all_given_work() -> None:
    waiting: list[asyncio.Event] = []

    async def handler(message: int) -> None:
        if message < 75:
            raise RuntimeError("on purpose")
        waiting.append(asyncio.Event())
        await waiting[-1].wait()

    limits = Limits(max_uncommitted=1000, max_buffer_records=80, max_buffer_bytes=64 * MIB)
    async with Bench(handler, limits=limits, concurrency=4) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(500))
        for _ in range(10):
            await bench.turns()
        assert len(waiting) == 4, "and one record more is ready, so that nobody seems to be short of work"

        bench.clock.advance(0.006)  # longer than a runner goes on without a turn of the loop
        for gate in tuple(waiting):
            gate.set()
        await bench.turns()
        assert len(waiting) == 8
        for gate in waiting:
            gate.set()


async def test_a_worker_that_has_lost_its_partitions_does_not_wait_for_room() -> None:
    async with Bench(fails, limits=FOR_SIXTEEN, concurrency=4) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(100))
        await bench.turns()
        assert bench.subscription.status().backing_off == 16
        await bench.advance(0.1)
        before = len(bench.transport.wants)

        revoked = bench.transport.revoke(bench.clock.now())
        await bench.turns()
        assert bench.transport.wants[before:], "it fetches, for only so it hears of its next assignment"
        await revoked


async def test_a_full_buffer_is_filled_one_by_one_when_a_handler_would_have_no_work() -> None:
    handler = Turnstile()
    async with Bench(handler, limits=FOR_SIXTEEN, concurrency=16) as bench:
        before = await filled(bench)

        handler.passes.release()
        await bench.turns()
        assert bench.transport.wants[before] == {WHERE: 1}
        assert handler.begun == 17


async def test_a_full_worker_still_fetches_with_nothing_wanted_to_stay_alive() -> None:
    limits = Limits(max_uncommitted=1000, max_buffer_records=1, max_buffer_bytes=64 * MIB)
    handler = Handler(0)
    async with Bench(handler, limits=limits) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.turns()
        fetches = len(bench.transport.wants)

        await bench.advance(1)
        assert len(bench.transport.wants) > fetches
        assert bench.transport.wants[-1] == {}
        handler.gate.set()


async def test_a_revocation_waits_for_running_handlers_commits_and_begins_nothing_more() -> None:
    handler = Handler(0)
    async with Bench(handler, concurrency=1) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.turns()

        revoked = bench.transport.revoke(bench.clock.now() + 5)
        await bench.turns()
        assert not revoked.done()
        assert handler.deliveries[0].revoked is True

        handler.gate.set()
        await revoked
        assert handler.finished == [0], "1 and 2 are left for whoever comes next"
        assert bench.transport.committed == {WHERE: 1}


async def test_a_handler_that_outlives_the_drain_is_cancelled_and_its_message_is_not_done() -> None:
    handler = Handler(1)
    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.turns()

        revoked = bench.transport.revoke(bench.clock.now() + 5)
        await bench.turns()
        await bench.advance(5)
        await revoked

        assert handler.cancelled == [1]
        assert bench.transport.committed == {WHERE: 1}


async def test_a_lost_partition_is_neither_waited_for_nor_committed() -> None:
    handler = Handler(1)
    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.turns()
        before = len(bench.transport.commits)

        await bench.transport.revoke(bench.clock.now() - 1)

        assert handler.cancelled == [1]
        assert len(bench.transport.commits) == before


async def test_a_cancelled_handler_that_goes_on_holds_up_the_revocation_for_a_moment_only() -> None:
    gate = asyncio.Event()

    async def stubborn(message: int) -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    async with Bench(stubborn) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()

        revoked = bench.transport.revoke(bench.clock.now() + 5)
        await bench.turns()
        await bench.advance(5)
        await bench.advance(0.5)

        assert revoked.done()
        assert bench.transport.committed == {WHERE: 0}
        gate.set()


async def test_what_an_old_assignment_finishes_late_is_not_committed_under_the_new_one() -> None:
    gate = asyncio.Event()
    calls: list[int] = []

    async def handler(message: int) -> None:
        calls.append(message)
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        revoked = bench.transport.revoke(bench.clock.now() - 1)
        await bench.advance(1)
        await revoked
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        beside_the_old_call = list(calls)

        gate.set()
        await bench.turns()
        assert (beside_the_old_call, calls) == ([0], [0, 0])
        await bench.advance(5)
        assert bench.transport.commits[-1][0] == bench.transport.epoch
        assert bench.transport.committed == {WHERE: 1}


async def test_what_an_assignment_could_not_commit_is_not_committed_under_the_next_one() -> None:
    """Another owner may have gone on meanwhile: its commit must not be undone."""
    async with Bench(Handler(), commit_interval=5) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.turns()
        bench.transport.outcomes.append(CommitOutcome.FAILED)
        await bench.advance(5.1)
        assert bench.transport.commits[-1][1][WHERE].offset == 2
        await bench.transport.revoke(bench.clock.now() - 1)

        bench.transport.assign(start=10)
        await bench.advance(5.1)
        under_the_next = [
            offsets[WHERE].offset
            for epoch, offsets in bench.transport.commits
            if epoch == bench.transport.epoch
        ]
        assert under_the_next == [10]


async def test_records_of_another_epoch_are_not_handed_out() -> None:
    handler = Handler()
    async with Bench(handler) as bench:
        bench.transport.assign()
        await bench.turns()
        bench.transport.epoch += 1

        bench.transport.feed(0)
        await bench.turns()
        assert handler.begun == []


async def test_a_record_that_comes_again_is_handled_once() -> None:
    """After an error the engine may return what it returned before."""
    handler = Handler()
    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.turns()
        bench.transport.feed(1, 2)
        await bench.turns()

        assert handler.finished == [0, 1, 2]


async def test_a_commit_that_failed_is_made_again_soon() -> None:
    async with Bench(Handler(), commit_interval=5) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()

        bench.transport.outcomes.append(CommitOutcome.FAILED)
        await bench.advance(5.1 + RETRY_SECONDS)

        assert [offsets[WHERE].offset for _, offsets in bench.transport.commits] == [0, 1, 1]


async def test_commits_never_run_side_by_side_and_a_revocation_waits_for_the_one_under_way() -> None:
    async with Bench(Handler(), commit_interval=5) as bench:
        bench.transport.assign()
        await bench.turns()
        bench.transport.commit_gate = asyncio.Event()
        bench.transport.feed(0)
        await bench.turns()
        await bench.advance(5)

        revoked = bench.transport.revoke(bench.clock.now() + 5)
        await bench.turns()
        assert not revoked.done()

        bench.transport.commit_gate.set()
        await revoked
        assert bench.transport.committed == {WHERE: 1}


async def test_a_stop_keeps_fetching_while_it_drains_then_commits_and_leaves() -> None:
    handler = Handler(0)
    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.turns()

        stopping = asyncio.ensure_future(bench.worker.stop(20, bench.clock.now() + 24))
        await bench.turns()
        bench.transport.feed(2)
        await bench.turns()
        assert handler.begun == [0, 1]
        assert bench.transport.wants[-1] == {}
        assert not bench.transport.stopped

        handler.gate.set()
        await stopping
        assert bench.transport.committed == {WHERE: 2}
        assert bench.transport.stopped


async def test_an_assignment_that_comes_while_stopping_hands_nothing_out() -> None:
    handler = Handler(0)
    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        stopping = asyncio.ensure_future(bench.worker.stop(20, bench.clock.now() + 24))
        await bench.turns()

        bench.transport.assign()
        bench.transport.feed(5)
        await bench.turns()
        assert handler.begun == [0]

        handler.gate.set()
        await stopping


async def test_a_stop_in_the_middle_of_a_revocation_waits_for_its_drain() -> None:
    handler = Handler(0)
    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        revoked = bench.transport.revoke(bench.clock.now() + 5)
        await bench.turns()

        stopping = asyncio.ensure_future(bench.worker.stop(20, bench.clock.now() + 24))
        await bench.turns()
        assert not bench.transport.stopped

        handler.gate.set()
        await asyncio.gather(revoked, stopping)
        assert (handler.finished, bench.transport.committed) == ([0], {WHERE: 1})


async def test_a_drain_does_not_wait_for_back_offs() -> None:
    async def failing(message: int) -> None:
        raise ConnectionError("away")

    async with Bench(failing) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()

        await bench.worker.stop(20, bench.clock.now() + 24)
        assert bench.clock.now() == 0
        assert bench.transport.committed == {WHERE: 0}


async def test_a_transport_that_raises_leaves_a_worker_that_says_it_is_dead(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(Handler())
    await bench.worker.start()
    bench.transport.broken = RuntimeError("a defect")
    bench.transport.assign()
    await bench.turns()

    assert bench.worker.alive is False
    assert "ended, which it must not: RuntimeError('a defect')" in caplog.text, "said at once"

    await bench.worker.stop(0.0, bench.clock.now() + 1)


async def test_a_worker_is_dead_when_nothing_looks_after_its_engine_any_more() -> None:
    async with Bench(Handler()) as bench:
        assert bench.worker.alive
        bench.transport.supervised = False
        assert not bench.worker.alive


async def test_the_last_commit_of_a_drain_is_tried_again_while_there_is_time() -> None:
    """A coordinator that moves refuses for a moment, and what is not committed is handled twice."""
    async with Bench(Handler()) as bench:
        bench.transport.assign()
        await bench.advance(0.5)
        bench.transport.feed(0, 1)
        await bench.turns()
        bench.transport.outcomes.extend([CommitOutcome.FAILED, CommitOutcome.UNKNOWN])
        revoking = bench.transport.revoke(bench.clock.now() + 5)
        await bench.advance(1)
        await revoking
        assert bench.transport.committed == {WHERE: 2}


async def test_the_last_commit_of_a_drain_is_given_up_when_the_time_is_over() -> None:
    async with Bench(Handler()) as bench:
        bench.transport.assign()
        await bench.advance(0.5)
        bench.transport.feed(0, 1)
        await bench.turns()
        bench.transport.outcomes.extend([CommitOutcome.FAILED] * 100)
        revoking = bench.transport.revoke(bench.clock.now() + 1)
        await bench.advance(0.5)
        assert not revoking.done()
        await bench.advance(10)
        await revoking


async def test_a_partition_whose_letter_cannot_be_written_waits_and_the_others_go_on() -> None:
    other = TopicPartition(TOPIC, 1)
    done: list[int] = []

    async def handler(message: int) -> None:
        if message == 0:
            raise ValueError("poison")
        done.append(message)

    async with Bench(handler) as bench:
        bench.graveyard.refuses = PublishFailed("no")
        bench.transport.assign(WHERE, other)
        bench.transport.feed(0)
        await bench.turns()
        await bench.advance(10.5)
        bench.transport.feed(7)
        bench.transport.feed(100, where=other)
        await bench.advance(0.5)
        assert done == [100]

        bench.graveyard.refuses = None
        await bench.advance(5)
        await bench.advance(1)
        assert done == [100, 7]
        assert len(bench.graveyard.buried) == 1


async def test_a_letter_is_written_within_seconds_of_when_it_can_be_however_long_it_could_not() -> None:
    """Until it is, readiness says `dlq_unavailable`."""
    async with Bench(fails) as bench:
        owned = await bench.without_letter(seconds=600)
        assert owned.held == DLQ_UNAVAILABLE

        bench.graveyard.refuses = None
        await bench.advance(5)
        assert len(bench.graveyard.buried) == 1
        assert owned.held is None


async def test_a_runner_that_dies_of_a_defect_counts_nothing_as_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Bench(Handler()) as bench:

        async def defect(jobs: object) -> None:
            raise RuntimeError("a defect of the dispatcher")

        bench.subscription._dispatch.handle = defect  # type: ignore[method-assign]
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        await bench.advance(5)

        assert bench.worker.alive is False
        assert bench.transport.committed == {WHERE: 0}
        assert "a defect of the dispatcher" in caplog.text


async def test_a_commit_that_failed_is_made_again_though_nothing_more_can_finish() -> None:
    limits = Limits(max_uncommitted=2, max_buffer_records=100, max_buffer_bytes=64 * MIB)
    handler = Handler()
    async with Bench(handler, limits=limits, commit_interval=None) as bench:
        bench.transport.assign()
        await bench.turns()
        bench.transport.outcomes.extend([CommitOutcome.FAILED] * 3)
        bench.transport.feed(0, 1, 2, 3)
        await bench.advance(5 * RETRY_SECONDS)

        assert handler.finished == [0, 1, 2, 3]
        assert bench.transport.committed == {WHERE: 4}


async def test_gaps_that_use_up_half_of_the_span_make_a_commit_due() -> None:
    limits = Limits(max_uncommitted=10, max_buffer_records=100, max_buffer_bytes=64 * MIB)
    handler = Handler()
    async with Bench(handler, limits=limits, commit_interval=3600) as bench:
        bench.transport.assign()
        for offset in range(0, 100, 4):
            bench.transport.feed(offset)
            await bench.advance(0.1)
        await bench.advance(1)

        assert len(handler.finished) == 25


async def test_what_is_remembered_of_fetches_does_not_grow_while_nobody_asks_for_the_status() -> None:
    async with Bench(Handler()) as bench:
        bench.transport.assign()
        for offset in range(20):
            bench.transport.feed(offset)
            await bench.turns()

        [owned] = bench.worker.partitions
        assert len(owned._batches) <= 2


async def test_a_failure_from_an_old_assignment_holds_up_nothing_of_the_new_one() -> None:
    gate = asyncio.Event()
    begun: list[int] = []

    async def cleans_up_slowly(message: int) -> None:
        begun.append(message)
        if len(begun) == 1:
            try:
                await gate.wait()
            except asyncio.CancelledError:
                await gate.wait()
                raise RuntimeError("could not clean up") from None

    async with Bench(cleans_up_slowly) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        revoked = bench.transport.revoke(bench.clock.now() + 1)
        await bench.advance(2)
        await revoked

        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        assert begun == [0], "one key, one after another"

        gate.set()
        await bench.turns()
        assert begun == [0, 0], "without the back-off of a failure that is no longer ours"


async def test_a_partition_stays_held_while_one_of_its_handlers_waits_though_another_has_finished() -> None:
    quick = Handler(0)
    async with Bench(fails) as bench:
        await bench.worker.attach(bench.subscribe(quick, id="quick"), 1)
        owned = await bench.without_letter()
        assert owned.held == DLQ_UNAVAILABLE

        quick.gate.set()
        await bench.turns()
        assert quick.finished == [0]
        assert owned.held == DLQ_UNAVAILABLE
