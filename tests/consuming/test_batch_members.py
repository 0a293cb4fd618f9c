"""What becomes of the other members of a batch when one of them cannot be decoded, buried or handled."""

from __future__ import annotations

from typing import Any

import pytest

from convex_messaging_fastapi.consuming.buffer_shares import Limits
from convex_messaging_fastapi.consuming.endings.bury import DLQ_UNAVAILABLE
from convex_messaging_fastapi.consuming.endings.hold import DEAD_LETTER_HELD
from convex_messaging_fastapi.errors import BatchFailed, PublishFailed, RetryAfter
from convex_messaging_fastapi.policies import Batch, Retry
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record, TopicPartition
from tests.consuming.support import TOPIC, WHERE, Bench
from tests.consuming.test_worker import MIB

OTHER = TopicPartition(TOPIC, 1)


class Taking:
    """Remembers the batches it was handed; fails while `error` is set."""

    def __init__(self) -> None:
        self.taken: list[list[int]] = []
        self.error: Exception | None = None
        self.first_error: Exception | None = None

    async def __call__(self, messages: list[int]) -> None:
        self.taken.append(list(messages))
        first, self.first_error = self.first_error, None
        if (error := first or self.error) is not None:
            raise error


def feed(bench: Bench, *values: bytes) -> None:
    """From offset 0 on; `b"?"` is no number."""
    bench.transport.feed(*range(len(values)))
    log = bench.transport.logs[WHERE]
    bench.transport.logs[WHERE] = type(log)(
        record._replace(value=value) for record, value in zip(log, values, strict=True)
    )


def the_partition(bench: Bench) -> Any:
    [owned] = bench.worker.partitions
    return owned


def three(**choices: Any) -> dict[str, Any]:
    return {"batch": Batch(max_records=3, max_wait_seconds=1), **choices}


FOR_EVER = Retry(attempts=None, delay_seconds=10, multiplier=1, jitter=0)


@pytest.mark.parametrize(
    "values", [(b"0", b"?", b"2"), (b"?", b"1", b"2"), (b"0", b"1", b"?")], ids=["middle", "first", "last"]
)
async def test_only_the_member_whose_letter_cannot_be_written_holds_the_partition(
    values: tuple[bytes, ...],
) -> None:
    handler = Taking()
    async with Bench(handler, **three(retry=FOR_EVER)) as bench:
        bench.graveyard.refuses = PublishFailed("no letter today")
        bench.transport.assign()
        feed(bench, *values)
        await bench.advance(0.5)
        [job] = the_partition(bench).holds.owners
        assert (job.record.value, the_partition(bench).held) == (b"?", DLQ_UNAVAILABLE)

        bench.graveyard.refuses, handler.error = None, ConnectionError("the database is away")
        await bench.advance(60)
        assert the_partition(bench).held is None, "the letter is written; what is left is tried again"
        assert len(bench.graveyard.buried) == 1

        handler.error = None
        await bench.advance(20)
        assert bench.transport.committed == {WHERE: 3}


@pytest.mark.parametrize(
    ("values", "handed_over"),
    [
        ((b"0", b"?", b"2"), [[0]]),
        ((b"?", b"1", b"2"), []),
        ((b"0", b"1", b"?"), [[0, 1]]),
        ((b"0", b"1", b"2", b"?"), [[0, 1, 2]]),
    ],
)
async def test_members_before_one_that_is_held_are_handed_over(
    values: tuple[bytes, ...], handed_over: list[list[int]]
) -> None:
    handler = Taking()
    async with Bench(handler, **three(dead_letter="hold")) as bench:
        bench.transport.assign()
        feed(bench, *values)
        await bench.advance(60)
        assert handler.taken == handed_over
        assert the_partition(bench).held == DEAD_LETTER_HELD
        assert bench.transport.committed == {WHERE: sum(map(len, handed_over))}


async def test_members_before_one_that_cannot_be_buried_are_handed_over_once() -> None:
    handler = Taking()
    async with Bench(handler, **three()) as bench:
        bench.graveyard.refuses = PublishFailed("no letter today")
        bench.transport.assign()
        feed(bench, b"0", b"?", b"2")
        await bench.advance(60)
        assert handler.taken == [[0]]
        bench.graveyard.refuses = None
        await bench.advance(10)
        assert handler.taken == [[0], [2]]
        assert bench.transport.committed == {WHERE: 3}


@pytest.mark.parametrize("dead_letter", ["bury", "hold"])
async def test_members_before_one_that_cannot_end_are_tried_again_as_often_as_any(dead_letter: str) -> None:
    handler = Taking()
    handler.error = ConnectionError("away")
    async with Bench(handler, **three(dead_letter=dead_letter, retry=FOR_EVER)) as bench:
        bench.graveyard.refuses = PublishFailed("no letter today")
        bench.transport.assign()
        feed(bench, b"0", b"?", b"2")
        await bench.advance(35)
        assert handler.taken == [[0]] * 4, "its own back-off, not that of the letter"
        handler.error = None
        await bench.advance(10)
        assert handler.taken == [[0]] * 5
        [job] = the_partition(bench).holds.owners
        assert job.record.offset == 1


@pytest.mark.parametrize("index", [0, 1, 2])
async def test_what_a_batch_failure_says_is_done_is_done_and_the_rest_is_forgotten_by_nobody(
    index: int,
) -> None:
    handler = Taking()
    handler.first_error, handler.error = BatchFailed(index), RuntimeError("and each of the rest")
    async with Bench(handler, **three(retry=Retry(attempts=1))) as bench:
        bench.transport.assign()
        feed(bench, b"0", b"1", b"2")
        await bench.advance(10)
        assert sorted(record.offset for record, _ in bench.graveyard.buried) == list(range(index, 3))
        assert bench.transport.committed == {WHERE: 3}
        assert bench.subscription.status().handled == index


@pytest.mark.parametrize("refused", range(3))
async def test_a_batch_whose_attempts_are_spent_forgets_no_member_while_no_letter_can_be_written(
    refused: int,
) -> None:
    handler = Taking()
    handler.error = RuntimeError("always")
    async with Bench(handler, **three(retry=Retry(attempts=1))) as bench:
        bury, tried = bench.graveyard.bury, 0

        async def refuse_one(record: Record, failure: Any) -> Receipt:
            nonlocal tried
            if record.offset == refused and tried < 3:
                tried += 1
                raise PublishFailed("no letter for this one yet")
            return await bury(record, failure)

        bench.graveyard.bury = refuse_one  # type: ignore[method-assign]
        bench.transport.assign()
        feed(bench, b"0", b"1", b"2")
        await bench.advance(30)
        assert [record.offset for record, _ in bench.graveyard.buried] == [0, 1, 2]
        assert bench.transport.committed == {WHERE: 3}
        assert the_partition(bench).held is None


LARGE = Batch(max_records=500, max_wait_seconds=600)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_uncommitted=40, max_buffer_records=10_000, max_buffer_bytes=64 * MIB),
        Limits(max_uncommitted=10_000, max_buffer_records=40, max_buffer_bytes=64 * MIB),
        Limits(max_uncommitted=10_000, max_buffer_records=10_000, max_buffer_bytes=MIB // 4),
    ],
    ids=["span", "records", "bytes"],
)
@pytest.mark.parametrize("partitions", [(WHERE,), (WHERE, OTHER)], ids=["one", "two"])
async def test_a_batch_that_cannot_grow_is_handed_over_as_it_is(
    limits: Limits, partitions: tuple[TopicPartition, ...]
) -> None:
    handler = Taking()
    async with Bench(handler, limits=limits, batch=LARGE, commit_interval=1) as bench:
        bench.transport.assign(*partitions)
        for where in partitions:
            bench.transport.feed(*range(200), where=where)
        await bench.advance(60)
        assert sum(map(len, handler.taken)) == 200 * len(partitions)


async def test_a_batch_that_can_grow_waits_for_its_time() -> None:
    handler = Taking()
    async with Bench(handler, batch=LARGE) as bench:
        bench.transport.assign(WHERE, OTHER)
        bench.transport.feed(0, 1, 2)
        await bench.advance(60)
        assert handler.taken == []
        await bench.advance(541)
        assert handler.taken == [[0, 1, 2]]


def timers(bench: Bench) -> int:
    """How many of the clock's are not cancelled, but for those that a worker always has."""
    return sum(not timer.cancelled for _, _, timer in bench.clock._timers)


@pytest.mark.parametrize("how", ["full", "in time", "dropped"])
async def test_no_timer_is_left_of_batches_that_gather_no_more(how: str) -> None:
    handler = Taking()
    batch = Batch(max_records=2, max_wait_seconds=600 if how != "in time" else 1)
    async with Bench(handler, batch=batch) as bench:
        bench.transport.assign()
        await bench.advance(1)
        before = timers(bench)
        for offset in range(100):
            bench.transport.feed(offset)
            await bench.turns()
            if how == "in time":
                await bench.advance(1)
        if how == "dropped":
            bench.transport.feed(100)
            await bench.turns()
            await bench.transport.revoke(bench.clock.now() - 1)
            await bench.turns()
        await bench.advance(2)
        assert timers(bench) <= before
        assert len(handler.taken) == (100 if how == "in time" else 50)


@pytest.mark.parametrize("fed", [1, 2, 3])
async def test_a_batch_that_asks_to_be_tried_again_at_once_does_not_gather_anew(fed: int) -> None:
    handler = Taking()
    handler.first_error = RetryAfter(0)
    batch = Batch(max_records=3, max_wait_seconds=10)
    async with Bench(handler, batch=batch) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(fed))
        await bench.advance(10.5)
        assert handler.taken == [list(range(fed))] * 2
