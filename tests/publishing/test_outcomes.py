"""Every message gets exactly one outcome, and none of them claims more than is known."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import (
    MessageTooLarge,
    PublishFailed,
    PublishManyError,
    PublishUnknown,
)
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import Problem, Verdict
from tests.publishing.fakes import FakeProducer, listed, record, until

FAILED, UNKNOWN, REFUSED = Verdict.FAILED, Verdict.UNKNOWN, Verdict.REFUSED
WRITTEN, TOO_LARGE = Verdict.WRITTEN, Verdict.TOO_LARGE


def begin(publisher: Publisher, value: str | int, timeout: float = 10) -> asyncio.Task[Receipt]:
    return asyncio.create_task(publisher.publish("t", record(value), timeout, partition=0))


def expired(task: asyncio.Task[Receipt]) -> BaseException | None:
    assert task.done()
    return task.exception()


async def test_an_acknowledged_message_has_a_receipt_that_points_at_it(
    publisher: Publisher, producer: FakeProducer
) -> None:
    await publisher.publish("t", record("a"), 10, partition=3)
    receipt = await publisher.publish("t", record("b"), 10, partition=3)
    assert receipt == Receipt("t", 3, 1, datetime(2026, 1, 1, tzinfo=UTC))
    assert producer.log[TopicPartition("t", 3)][receipt.offset] == record("b")


async def test_a_send_that_failed_is_repeated_until_it_is_written(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.script.extend([FAILED, FAILED])
    task = begin(publisher, "a")
    for _ in range(2):
        await back_off(clock)
    assert (await task).offset == 0
    assert producer.values("t") == [b"a"]


async def test_certainly_unwritten_at_the_deadline_is_failed_with_what_went_wrong_and_what_to_do(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.script.extend([FAILED] * 100)
    task = begin(publisher, "secret-payload")
    error = await time_runs_out(task, clock)
    assert isinstance(error, PublishFailed)
    assert "'t' (partition 0)" in str(error)
    assert "SCRIPTED_FAILED" in str(error)
    assert "certainly not written; publish it again" in str(error)
    assert "secret" not in str(error)
    assert publisher.status().failed == 1


async def test_perhaps_written_at_the_deadline_is_unknown(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.script.extend([UNKNOWN, *[FAILED] * 100])
    error = await time_runs_out(begin(publisher, "a"), clock)
    assert isinstance(error, PublishUnknown)
    assert "may be written, or may land later" in str(error)
    assert publisher.status().unknown == 1


async def test_in_flight_at_the_deadline_is_unknown_and_the_next_message_still_goes_out_behind_it(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()
    first = begin(publisher, "a", timeout=1)
    await until(producer.entered.is_set)
    second = begin(publisher, "b", timeout=10)
    await until(lambda: publisher.status().pending == 2)
    clock.advance(1.1)
    await until(first.done)
    assert isinstance(expired(first), PublishUnknown)
    assert not second.done()
    producer.gate.set()
    assert (await second).offset == 1
    assert producer.values("t") == [b"a", b"b"]


@pytest.mark.parametrize("verdict", Verdict)
async def test_an_answer_that_comes_after_the_deadline_changes_no_outcome_and_no_count(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock, verdict: Verdict
) -> None:
    producer.gate.clear()
    producer.script.append(verdict)
    task = begin(publisher, "a", timeout=1)
    await until(producer.entered.is_set)
    clock.advance(1.1)
    with pytest.raises(PublishUnknown):
        await task
    producer.gate.set()
    await until(lambda: not producer.sending)
    status = publisher.status()
    assert (status.pending, status.published, status.failed, status.unknown) == (0, 0, 0, 1)
    assert await publisher.flush(1)
    if backing_off(clock):
        await back_off(clock)
    assert (await begin(publisher, "b")).partition == 0
    assert publisher.status().pending == 0


async def test_of_a_batch_that_failed_only_what_has_no_outcome_yet_waits_again(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()
    producer.script.append(FAILED)
    tasks = [begin(publisher, value, timeout=1 if value in "bd" else 10) for value in "abcd"]
    await until(producer.entered.is_set)
    clock.advance(1.1)
    await until(lambda: tasks[1].done() and tasks[3].done())
    producer.gate.set()
    await until(lambda: backing_off(clock))
    queue = publisher._topics["t"]._queues.of(0)
    assert queue.load() == sum(not task.done() for task in tasks)
    await back_off(clock)
    assert [(await tasks[n]).partition for n in (0, 2)] == [0, 0]
    assert queue.load() == 0
    assert producer.values("t") in ([b"a", b"c"], [b"a", b"b", b"c", b"d"])


async def test_queued_at_its_deadline_is_taken_out_of_the_queue_and_failed(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()
    first = begin(publisher, "a")
    await until(producer.entered.is_set)
    second, third = begin(publisher, "b", timeout=1), begin(publisher, "c")
    await until(lambda: publisher.status().pending == 3)
    clock.advance(1.1)
    await until(second.done)
    assert isinstance(expired(second), PublishFailed)
    producer.gate.set()
    await asyncio.gather(first, third)
    assert producer.values("t") == [b"a", b"c"]


async def test_why_it_is_late_names_the_problem_that_the_transport_knows_of(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()
    producer.problem = Problem.BROKER_UNREACHABLE
    task = begin(publisher, "a", timeout=1)
    await until(producer.entered.is_set)
    clock.advance(1.1)
    with pytest.raises(PublishUnknown, match="broker_unreachable"):
        await task


COMPLAINT = "NotEnoughReplicasError: fewer replicas are in sync"


@pytest.mark.parametrize("end", ["deadline", "stop"])
@pytest.mark.parametrize("problem", [None, Problem.BROKER_UNREACHABLE])
async def test_what_a_broker_says_while_it_is_asked_again_is_told_of_all_that_wait_for_it(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock, end: str, problem: Problem | None
) -> None:
    producer.gate.clear()
    sent = begin(publisher, "sent", timeout=1)
    await until(producer.entered.is_set)
    behind = begin(publisher, "behind", timeout=1)
    await until(lambda: publisher.status().pending == 2)
    producer.complaints[TopicPartition("t", 0)] = COMPLAINT
    producer.problem = problem
    if end == "deadline":
        clock.advance(1.1)
    else:
        await publisher.stop(0)
    with pytest.raises(PublishUnknown, match=COMPLAINT):
        await sent
    with pytest.raises(PublishFailed, match=COMPLAINT) as caught:
        await behind
    assert ("broker_unreachable" in str(caught.value)) is (problem is not None)


async def test_a_refused_message_fails_at_once_and_the_rest_goes_on(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.fits = 1
    producer.script.extend([WRITTEN, REFUSED, WRITTEN])
    tasks = [begin(publisher, value) for value in "abc"]
    good, bad, also_good = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(good, Receipt)
    assert isinstance(bad, PublishFailed)
    assert "SCRIPTED_REFUSED" in str(bad)
    assert isinstance(also_good, Receipt)
    assert producer.values("t") == [b"a", b"c"]


async def test_a_refusal_does_not_undo_the_doubt_of_an_earlier_attempt(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.lands = True
    producer.script.extend([UNKNOWN, REFUSED])
    task = begin(publisher, "a")
    await back_off(clock)
    with pytest.raises(PublishUnknown, match="SCRIPTED_REFUSED"):
        await task
    assert producer.values("t") == [b"a"]


async def test_of_a_batch_only_its_first_message_is_too_large(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.script.append(TOO_LARGE)
    large, small = await asyncio.gather(
        *(begin(publisher, value) for value in ("large", "small")), return_exceptions=True
    )
    assert isinstance(large, MessageTooLarge)
    assert "max.message.bytes" in str(large)
    assert isinstance(small, Receipt)


async def test_a_send_that_raises_is_unknown_and_repeated(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    producer.script.extend([ValueError("a bug"), asyncio.CancelledError()])
    producer.script.extend([FAILED] * 100)
    error = await time_runs_out(begin(publisher, "a"), clock)
    assert isinstance(error, PublishUnknown)
    assert "a bug" not in str(error)
    assert "did not explain" in caplog.text


async def test_a_caller_cancelled_while_queued_takes_its_message_back(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.gate.clear()
    first = begin(publisher, "a")
    await until(producer.entered.is_set)
    second, third = begin(publisher, "b"), begin(publisher, "c")
    await until(lambda: publisher.status().pending == 3)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    producer.gate.set()
    await asyncio.gather(first, third)
    assert producer.values("t") == [b"a", b"c"]
    assert publisher.status().failed == 1


async def test_a_caller_cancelled_while_in_flight_disturbs_nobody(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.gate.clear()
    tasks = [begin(publisher, value) for value in "ab"]
    await until(producer.entered.is_set)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    producer.gate.set()
    assert (await tasks[1]).offset == 1
    assert publisher.status().unknown == 1


async def test_many_messages_have_their_receipts_in_the_order_given(
    publisher: Publisher, producer: FakeProducer
) -> None:
    records = [record(number, key=str(number % 7).encode()) for number in range(2_500)]
    receipts = await publisher.publish_many("t", listed(records), 10)
    landed = [producer.log[TopicPartition("t", at.partition)][at.offset] for at in receipts]
    assert landed == records
    assert await publisher.publish_many("t", listed([]), 10) == []


async def test_many_tell_which_failed_and_which_are_unknown(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.fits = 1
    producer.script.extend([WRITTEN, REFUSED, UNKNOWN, *[FAILED] * 100])
    task = asyncio.create_task(publisher.publish_many("t", listed([record(n) for n in range(4)]), 10))
    await time_runs_out(task, clock)
    with pytest.raises(PublishManyError) as caught:
        await task
    error = caught.value
    assert [receipt is not None for receipt in error.receipts] == [True, False, False, False]
    assert list(error.failed) == [1, 3]
    assert list(error.unknown) == [2]


async def test_a_cancelled_publish_many_takes_back_what_was_not_sent(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.gate.clear()
    task = asyncio.create_task(publisher.publish_many("t", listed([record(n) for n in range(3_000)]), 10))
    await until(producer.entered.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert publisher.status().pending == 0
    producer.gate.set()
    await until(lambda: not producer.sending)
    assert len(producer.values("t")) == producer.offers[0][1]


async def test_a_publish_many_that_is_cancelled_while_it_is_taken_in_leaves_nothing_pending(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.gate.clear()
    task = asyncio.create_task(publisher.publish_many("t", listed([record(n) for n in range(5_000)]), 10))
    await until(lambda: 0 < publisher.status().pending < 5_000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert publisher.status().pending == 0


async def test_a_cancelled_publish_many_takes_back_nothing_of_another_caller(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.counting.clear()
    cancelled = asyncio.create_task(publisher.publish_many("t", listed([record("a"), record("b")]), 10))
    other = asyncio.create_task(publisher.publish_many("t", listed([record("c"), record("d")]), 10))
    await until(lambda: publisher.status().pending == 4)

    cancelled.cancel()
    await until(cancelled.done)
    assert publisher.status().pending == 2

    producer.counting.set()
    assert len(await other) == 2
    assert producer.values("t") == [b"c", b"d"]


async def test_a_cancelled_publish_many_leaves_what_was_written(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.fits = 1
    producer.script.extend([WRITTEN, FAILED])
    task = asyncio.create_task(publisher.publish_many("t", listed([record(n) for n in range(3)]), 10))
    await until(lambda: backing_off(clock))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    status = publisher.status()
    assert (status.published, status.failed, status.unknown) == (1, 2, 0)
    assert producer.values("t") == [b"0"]


async def test_a_resend_after_back_off_waits_longer_each_time_and_starts_anew_after_success(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.script.extend([FAILED] * 7)
    task = begin(publisher, "a", timeout=100)
    waits = [await back_off(clock) for _ in range(7)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    await task
    producer.script.append(FAILED)
    task = begin(publisher, "b", timeout=100)
    assert await back_off(clock) == pytest.approx(0.1)
    await task


async def test_before_the_start_and_after_the_stop_nothing_is_accepted(
    producer: FakeProducer, clock: ManualClock
) -> None:
    publisher = Publisher(producer, clock, Partitioner())
    with pytest.raises(PublishFailed, match="not running"):
        await publisher.publish("t", record("a"), 10)
    await publisher.start()
    await publisher.stop(1)
    with pytest.raises(PublishFailed, match="not running"):
        await publisher.publish("t", record("a"), 10)
    with pytest.raises(PublishManyError, match="not running") as many:
        await publisher.publish_many("t", listed([record(n) for n in range(3)]), 10)
    assert list(many.value.failed) == [0, 1, 2]
    assert producer.log == {}


async def test_an_acknowledgement_without_offset_or_time_says_so_with_minus_one_and_the_clock(
    clock: ManualClock,
) -> None:
    class Silent(FakeProducer):
        async def _send(self, where, records):  # type: ignore[no-untyped-def]
            sent = await super()._send(where, records)
            return sent._replace(base_offset=-1, timestamp_ms=-1)

    publisher = Publisher(Silent(), clock, Partitioner())
    await publisher.start()
    receipts = await publisher.publish_many("t", listed([record("a"), record("b")]), 10)
    assert [at.offset for at in receipts] == [-1, -1]
    assert receipts[0].timestamp.timestamp() == clock.unix()
    await publisher.stop(1)


async def test_a_tombstone_is_a_record_like_any_other(publisher: Publisher, producer: FakeProducer) -> None:
    await publisher.publish("t", OutgoingRecord(b"k", None), 10)
    assert producer.values("t") == [None]


def backing_off(clock: ManualClock) -> bool:
    """Whether a timer is due within the longest back-off: deadlines of these tests are farther away."""
    due = clock.next_due()
    return due is not None and due <= 2


async def back_off(clock: ManualClock) -> float:
    """Wait for the next back-off, let it pass, and answer how long it was."""
    await until(lambda: backing_off(clock))
    due = clock.next_due()
    assert due is not None
    clock.advance(due)
    return due


async def time_runs_out(task: asyncio.Task[Any], clock: ManualClock) -> BaseException | None:
    """Let back-off after back-off pass until `task` is done; its error."""
    while True:
        await until(lambda: task.done() or backing_off(clock))
        if task.done():
            return task.exception()
        clock.advance(clock.next_due() or 0)
