"""What follows when a handler ends later, or otherwise, than it was given time for."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.policies import Batch, Retry
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Position
from tests.consuming.support import WHERE, Bench
from tests.consuming.test_worker import MIB, Handler

TEN = Batch(max_records=10, max_wait_seconds=0.5)


class CleansUpSlowly:
    """Its first call waits until it is cancelled, then for the gate, and ends as `end` does."""

    def __init__(self, end: Callable[[], None] | None = None) -> None:
        self.gate = asyncio.Event()
        self.calls: list[Any] = []
        self._end = end

    async def __call__(self, message: Any) -> None:
        self.calls.append(message)
        if len(self.calls) > 1:
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await self.gate.wait()
            if self._end is None:
                raise
            self._end()


def fails() -> None:
    raise RuntimeError("could not clean up")


def returns() -> None: ...


LATE_ENDS = pytest.mark.parametrize("end", [None, fails, returns], ids=["cancelled", "failed", "returned"])


@LATE_ENDS
async def test_a_batch_that_gathers_behind_a_late_end_is_handed_over_in_time(
    end: Callable[[], None] | None,
) -> None:
    late = CleansUpSlowly(end)

    async def handle(messages: list[int]) -> None:
        await late(list(messages))

    async with Bench(handle, batch=TEN) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.advance(1)
        revoked = bench.transport.revoke(bench.clock.now() - 1)
        await bench.advance(1)
        await revoked
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.advance(1)
        assert late.calls == [[0, 1]], "one partition, one batch after another"

        late.gate.set()
        await bench.advance(1)
        assert late.calls == [[0, 1], [0, 1, 2]]
        assert bench.subscription.status().waiting == 0


@LATE_ENDS
async def test_a_key_whose_handler_was_cancelled_is_handled_in_the_next_assignment(
    end: Callable[[], None] | None,
) -> None:
    late = CleansUpSlowly(end)

    async def handle(message: int) -> None:
        await late(message)

    async with Bench(handle) as bench:
        bench.transport.assign()
        bench.transport.feed(0, key=b"k")
        await bench.turns()
        revoked = bench.transport.revoke(bench.clock.now() - 1)
        await bench.advance(1)
        await revoked
        bench.transport.assign()
        bench.transport.feed(0, 1, key=b"k")
        late.gate.set()
        await bench.advance(1)
        assert late.calls == [0, 0, 1]


def tries_again() -> None:
    raise RuntimeError("and would be tried again after ten seconds")


@pytest.mark.parametrize("end", [None, tries_again, returns], ids=["cancelled", "failed", "returned"])
@pytest.mark.parametrize("batch", [None, TEN], ids=["single", "batch"])
async def test_a_record_that_its_leaving_handler_never_finishes_holds_up_no_other(
    end: Callable[[], None] | None, batch: Batch | None
) -> None:
    late, other = CleansUpSlowly(end), Handler()

    async def one(message: int) -> None:
        await late(message)

    async def several(messages: list[int]) -> None:
        await late(messages)

    limits = Limits(max_uncommitted=20, max_buffer_records=100, max_buffer_bytes=64 * MIB)
    async with Bench(several if batch else one, limits=limits, commit_interval=1, batch=batch) as bench:
        await bench.worker.attach(bench.subscribe(other, id="other"), 1)
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.advance(1)
        leaving = asyncio.create_task(bench.worker.detach("handler", 1))
        await bench.advance(2)
        assert leaving.done(), "it is left behind"

        late.gate.set()
        bench.transport.feed(*range(1, 100))
        await bench.advance(10)
        assert other.finished == list(range(100))
        assert bench.transport.committed == {WHERE: 100}


async def test_what_the_last_handler_of_a_topic_leaves_is_committed_by_nobody() -> None:
    late = CleansUpSlowly()

    async def handle(message: int) -> None:
        await late(message)

    async with Bench(handle, commit_interval=1) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        leaving = asyncio.create_task(bench.worker.detach("handler", 1))
        await bench.advance(2)
        await leaving
        late.gate.set()
        await bench.advance(5)
        assert bench.transport.committed == {WHERE: 0}


async def test_what_its_leaving_handler_gives_back_after_a_revocation_is_left_to_the_next_owner() -> None:
    late, other = CleansUpSlowly(), Handler()

    async def handle(message: int) -> None:
        await late(message)

    async with Bench(handle, commit_interval=1) as bench:
        await bench.worker.attach(bench.subscribe(other, id="other"), 1)
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        leaving = asyncio.create_task(bench.worker.detach("handler", 20))
        await bench.turns()
        revoked = bench.transport.revoke(bench.clock.now() + 1)
        await bench.advance(2)
        late.gate.set()
        await bench.advance(2)
        await asyncio.gather(leaving, revoked)
        assert bench.transport.committed == {WHERE: 0}


async def test_a_handler_that_cancels_its_own_task_has_failed_and_backs_off() -> None:
    calls: list[tuple[int, float]] = []

    async def handle(message: int) -> None:
        calls.append((message, bench.clock.now()))
        if message == 0:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async with Bench(handle, concurrency=1) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.advance(20)
        assert [message for message, _ in calls] == [0, 1, 2, 0]
        assert calls[3][1] - calls[0][1] >= 10
        [(record, failure)] = bench.graveyard.buried
        assert (record.offset, failure.attempts) == (0, 2)
        assert failure.exception_type.endswith("HandlerCancelled")
        assert bench.worker.alive


@pytest.mark.parametrize("how", ["returns", "fails"])
async def test_a_cancellation_that_a_handler_asks_for_and_does_not_await_meets_no_other_message(
    how: str,
) -> None:
    begun: list[int] = []

    async def handle(message: int) -> None:
        begun.append(message)
        if message == 0:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if how == "fails":
                raise RuntimeError("on purpose")
            return
        await asyncio.sleep(0)

    async with Bench(handle, concurrency=1) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.turns()
        status = bench.subscription.status()
        assert begun == [0, 1, 2]
        assert (status.failed_attempts, status.handled) == ((1, 2) if how == "fails" else (0, 3))


async def test_every_task_of_the_loop_cancelled_at_once_is_a_failed_attempt_of_what_was_running() -> None:
    handler = Handler(0, 1)
    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.turns()
        for task in asyncio.all_tasks():
            if task.get_name().startswith("convex-runner"):
                task.cancel()
        await bench.turns()
        status = bench.subscription.status()
        assert (status.failed_attempts, status.backing_off, status.running) == (2, 2, 0)


async def test_a_cancellation_of_the_worker_itself_counts_as_no_attempt() -> None:
    handler = Handler(0)
    async with Bench(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        revoked = bench.transport.revoke(bench.clock.now() + 1)
        await bench.advance(1)
        await revoked
        assert handler.cancelled == [0]
        assert bench.subscription.status().failed_attempts == 0


async def test_a_handler_over_its_time_has_timed_out_and_was_not_cancelled_by_somebody() -> None:
    async def handle(message: int) -> None:
        await asyncio.Event().wait()

    async with Bench(handle, timeout=2, retry=Retry(attempts=1)) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.advance(2.5)
        [(_, failure)] = bench.graveyard.buried
        assert failure.exception_type.endswith("AttemptTimedOut")


async def test_a_stop_during_a_drain_of_one_handler_begins_nothing_more_of_the_others() -> None:
    slow, begun = Handler(0), []

    async def fast(message: int) -> None:
        begun.append((message, bench.clock.now()))
        await until(bench, 0.5)

    async with Bench(slow, id="slow") as bench:
        await bench.worker.attach(bench.subscribe(fast, id="fast", concurrency=1), 1)
        bench.transport.assign()
        bench.transport.feed(*range(50), key=b"k")
        await bench.turns()
        leaving = asyncio.create_task(bench.worker.detach("slow", 20))
        await bench.advance(0.1)
        stopped_at = bench.clock.now()
        stopping = asyncio.create_task(bench.worker.stop(4, stopped_at + 5))
        await bench.turns()
        await bench.advance(4.6)

        assert stopping.done(), "the other's drain of 20 s does not hold it up"
        assert [message for message, at in begun if at > stopped_at] == []
        assert bench.transport.stopped
        assert bench.transport.committed[WHERE] == 0, "what only slow had is not done"
        slow.gate.set()
        await bench.turns()
        await asyncio.gather(leaving, stopping)


@pytest.mark.parametrize("how", ["stop", "revocation", "detach", "stop amid a detach"])
async def test_a_handler_is_cancelled_once_and_may_clean_up(how: str) -> None:
    cancelled: list[int] = []
    cleaned_up: list[int] = []

    async def handle(message: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(message)
            await until(bench, 0.3)
            cleaned_up.append(message)
            raise

    async with Bench(handle) as bench:
        await bench.worker.attach(bench.subscribe(Handler(), id="other"), 1)
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        now = bench.clock.now()
        ends: list[asyncio.Task[None]] = []
        if how == "revocation":
            ends.append(bench.transport.revoke(now + 1))
        if "detach" in how:
            ends.append(asyncio.create_task(bench.worker.detach("handler", 1)))
            await bench.turns()
        if "stop" in how:
            ends.append(asyncio.create_task(bench.worker.stop(1, now + 5)))
        await bench.advance(2)
        await asyncio.gather(*ends)
        assert (cancelled, cleaned_up) == ([0], [0])
        assert bench.subscription.status().failed_attempts == 0


async def test_a_stop_cuts_the_drain_of_a_rebuild_short() -> None:
    slow = Handler(0)
    async with Bench(slow) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        newcomer = bench.subscribe(Handler(), id="newcomer", topics=("convex.users",))
        joining = asyncio.create_task(bench.worker.attach(newcomer, 20))
        await bench.turns()
        stopping = asyncio.create_task(bench.worker.stop(2, bench.clock.now() + 5))
        await bench.advance(3)
        assert slow.cancelled == [0]
        assert stopping.done()
        await asyncio.gather(joining, stopping)


async def until(bench: Bench, seconds: float) -> None:
    woken = asyncio.Event()
    bench.clock.call_later(seconds, woken.set)
    await woken.wait()


async def test_a_worker_that_is_being_rebuilt_is_alive_at_every_turn() -> None:
    async with Bench(Handler()) as bench:
        bench.transport.assign()
        await bench.turns()
        newcomer = bench.subscribe(Handler(), id="newcomer", topics=("convex.users",))
        joining = asyncio.create_task(bench.worker.attach(newcomer, 20))
        while not joining.done():
            await asyncio.sleep(0)
            assert bench.worker.alive
        await joining


async def test_messages_that_wait_together_do_not_see_each_others_context() -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    async def handle(message: int) -> None:
        seen.append(tenant.get())
        tenant.set(str(message))

    async with Bench(handle, concurrency=1) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.advance(1)
        assert seen == ["nobody"] * 3


async def test_a_revocation_of_another_epoch_takes_nothing() -> None:
    async with Bench(Handler()) as bench:
        bench.transport.assign()
        assert bench.transport.listener is not None
        await bench.transport.listener.revoked(bench.transport.epoch - 1, bench.clock.now() + 5)
        assert len(bench.worker.partitions) == 1


@pytest.mark.parametrize("outcome", [CommitOutcome.FAILED, CommitOutcome.UNKNOWN])
async def test_what_was_finished_above_an_unfinished_record_is_told_again_after_a_commit_without_success(
    outcome: CommitOutcome,
) -> None:
    handler = Handler(0)
    async with Bench(handler, commit_interval=5) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.advance(0.1)
        bench.transport.outcomes.append(outcome)
        await bench.advance(6.5)
        told = [offsets[WHERE] for _, offsets in bench.transport.commits if offsets[WHERE].metadata]
        assert len(told) == 2
        handler.gate.set()


@pytest.mark.parametrize("outcome", [CommitOutcome.FAILED, CommitOutcome.UNKNOWN])
async def test_a_commit_without_success_is_made_again_and_uses_up_the_span_till_then(
    outcome: CommitOutcome,
) -> None:
    async with Bench(Handler(), commit_interval=5) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        bench.transport.outcomes.append(outcome)
        await bench.advance(5.1)
        [owned] = bench.worker.partitions
        assert owned.ledger.committed == 0, "nobody knows that it was stored"
        await bench.advance(1.1)
        assert [offsets[WHERE].offset for _, offsets in bench.transport.commits] == [0, 1, 1]
        assert owned.ledger.committed == 1


async def test_two_commits_are_never_under_way_at_once() -> None:
    async with Bench(Handler(), commit_interval=5) as bench:
        bench.transport.assign()
        await bench.turns()
        under_way, most = 0, 0
        gate, commit = asyncio.Event(), bench.transport.commit

        async def counted(
            epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
        ) -> Mapping[TopicPartition, CommitOutcome]:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await gate.wait()
            under_way -= 1
            return await commit(epoch, offsets, deadline)

        bench.transport.commit = counted  # type: ignore[method-assign]
        bench.transport.feed(0)
        await bench.turns()
        await bench.advance(5)
        revoked = bench.transport.revoke(bench.clock.now() + 5)
        await bench.turns()
        gate.set()
        await revoked
        assert most == 1
