"""A filter is asked once; what it passes over is finished and counted; if it raises, an attempt failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from convex_messaging_fastapi.consuming.snapshots import worker_status
from convex_messaging_fastapi.errors import Discard, Reject, RetryAfter
from convex_messaging_fastapi.policies import Batch, Retry
from convex_messaging_fastapi.records import Delivery
from tests.consuming.support import TOPIC, WHERE, Bench

THRICE = Retry(attempts=3, delay_seconds=10, multiplier=1, jitter=0)


class Asked:
    """A filter that takes even offsets, and fails on those in `fails` as often as it says."""

    def __init__(self, fails: dict[int, int] | None = None, error: BaseException | None = None) -> None:
        self.asked: list[tuple[int, int]] = []
        self.fails = fails or {}
        self.error = error or RuntimeError("the filter failed")

    def __call__(self, delivery: Delivery) -> bool:
        self.asked.append((delivery.offset, delivery.attempt))
        if self.fails.get(delivery.offset, 0) > 0:
            self.fails[delivery.offset] -= 1
            raise self.error
        return delivery.offset % 2 == 0


class Taking:
    """Remembers what it was handed: single messages or batches."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def one(self, message: int) -> None:
        self.taken.append(message)

    async def many(self, messages: list[int]) -> None:
        self.taken.append(list(messages))


def counts(bench: Bench) -> dict[str, int]:
    [status] = worker_status(bench.worker, bench.clock).subscriptions
    return {
        name: n
        for name in ("handled", "filtered", "failed_attempts", "buried")
        if (n := getattr(status, name))
    }


async def test_what_is_passed_over_is_finished_and_counted_and_not_handled() -> None:
    taking, asked = Taking(), Asked()
    async with Bench(taking.one, filter=asked) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(7))
        await bench.advance(6)
        assert taking.taken == [0, 2, 4, 6]
        assert asked.asked == [(offset, 1) for offset in range(7)]
        assert counts(bench) == {"handled": 4, "filtered": 3}
        assert bench.transport.committed == {WHERE: 7}


async def test_a_topic_of_which_nothing_is_wanted_is_read_on_and_committed() -> None:
    taking = Taking()
    async with Bench(taking.one, filter=lambda delivery: False) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(1000))
        await bench.advance(6)
        assert taking.taken == []
        assert bench.transport.committed == {WHERE: 1000}
        status = worker_status(bench.worker, bench.clock)
        assert (status.unhandled, status.buffered_records, status.buffered_bytes) == (1000, 0, 0)


async def test_it_is_asked_before_a_value_is_read_and_before_a_batch_gathers() -> None:
    taking = Taking()
    async with Bench(taking.many, filter=Asked(), batch=Batch(max_records=3, max_wait_seconds=1)) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(5))
        log = bench.transport.logs[WHERE]
        bench.transport.logs[WHERE] = type(log)(
            record._replace(value=b"?") if record.offset % 2 else record for record in log
        )
        await bench.turns()
        assert taking.taken == [[0, 2, 4]], "a full batch, without those that are not wanted"
        assert counts(bench) == {"handled": 3, "filtered": 2}


async def test_a_batch_does_not_wait_for_members_that_are_passed_over() -> None:
    taking = Taking()
    async with Bench(taking.many, filter=Asked(), batch=Batch(max_records=3, max_wait_seconds=1)) as bench:
        bench.transport.assign()
        bench.transport.feed(1, 2, 3)
        await bench.turns()
        assert taking.taken == []
        await bench.advance(1.1)
        assert taking.taken == [[2]]


@pytest.mark.parametrize("offset", [2, 3], ids=["wanted", "not wanted"])
async def test_a_filter_that_raises_is_asked_again_with_the_next_attempt(offset: int) -> None:
    taking, asked = Taking(), Asked(fails={offset: 2})
    async with Bench(taking.one, filter=asked, retry=THRICE) as bench:
        bench.transport.assign()
        bench.transport.feed(offset)
        await bench.advance(30)
        assert asked.asked == [(offset, 1), (offset, 2), (offset, 3)]
        wanted = offset % 2 == 0
        assert taking.taken == ([offset] if wanted else [])
        assert counts(bench) == {"failed_attempts": 2, "handled" if wanted else "filtered": 1}
        assert bench.transport.committed == {WHERE: offset + 1}


async def test_a_handler_that_fails_is_tried_again_without_asking_the_filter() -> None:
    asked, failures = Asked(), [RuntimeError("once")]

    async def handle(message: int) -> None:
        if failures:
            raise failures.pop()

    async with Bench(handle, filter=asked, retry=THRICE) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.advance(30)
        assert asked.asked == [(0, 1)]
        assert counts(bench) == {"handled": 1, "failed_attempts": 1}


async def test_a_wanted_message_whose_filter_had_failed_is_not_asked_about_again() -> None:
    asked, failures = Asked(fails={0: 1}), [RuntimeError("once")]

    async def handle(message: int) -> None:
        if failures:
            raise failures.pop()

    async with Bench(handle, filter=asked, retry=THRICE) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.advance(30)
        assert asked.asked == [(0, 1), (0, 2)]
        assert counts(bench) == {"handled": 1, "failed_attempts": 2}


@pytest.mark.parametrize(
    ("error", "attempts", "letters"),
    [
        (RuntimeError("always"), 3, ["RuntimeError"]),
        (Reject("no"), 1, ["convex_messaging_fastapi.errors.Reject"]),
        (Discard("no"), 1, []),
        (SystemExit(1), 3, ["convex_messaging_fastapi.errors.HandlerExited"]),
        (asyncio.CancelledError(), 3, ["convex_messaging_fastapi.errors.HandlerCancelled"]),
        (GeneratorExit(), 3, ["GeneratorExit"]),
        (ExceptionGroup("several", [RuntimeError("a"), ValueError("b")]), 3, ["ExceptionGroup"]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_a_filter_raises_is_judged_as_what_a_handler_raises(
    error: BaseException, attempts: int, letters: list[str]
) -> None:
    taking, asked = Taking(), Asked(fails={1: 99}, error=error)
    async with Bench(taking.one, filter=asked, retry=THRICE) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1, 2)
        await bench.advance(40)
        assert [failure.exception_type for _, failure in bench.graveyard.buried] == letters
        assert [attempt for offset, attempt in asked.asked if offset == 1] == list(range(1, attempts + 1))
        assert taking.taken == [0, 2]
        assert bench.transport.committed == {WHERE: 3}


async def test_a_filter_may_say_when_to_ask_again() -> None:
    asked = Asked(fails={0: 1}, error=RetryAfter(3))
    async with Bench(Taking().one, filter=asked, retry=THRICE) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.advance(2.8)
        assert asked.asked == [(0, 1)]
        await bench.advance(0.4)
        assert asked.asked == [(0, 1), (0, 2)]


@pytest.mark.parametrize("answer", [None, 1, 0, "yes", "", [], object()])
async def test_an_answer_that_is_no_bool_is_refused_and_not_repeated(answer: object) -> None:
    wants: Callable[[Delivery], Any] = lambda delivery: answer  # noqa: E731
    async with Bench(Taking().one, filter=wants, retry=THRICE) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.advance(40)
        [(_, failure)] = bench.graveyard.buried
        assert failure.attempts == 1
        kind = "None" if answer is None else f"a value of type {type(answer).__name__}"
        assert failure.text == (
            f"the filter of handler answered {kind}: a filter is a plain function that answers True or False"
        )


async def test_a_coroutine_is_refused_and_closed() -> None:
    async def answer() -> bool:
        return True

    wants: Callable[[Delivery], Any] = lambda delivery: answer()  # noqa: E731
    async with Bench(Taking().one, filter=wants) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.advance(1)
        [(_, failure)] = bench.graveyard.buried
        assert "answered a value of type coroutine" in failure.text


async def test_of_a_batch_only_the_member_fails_whose_filter_does() -> None:
    taking = Taking()
    choices: dict[str, Any] = {"batch": Batch(max_records=3, max_wait_seconds=1), "retry": THRICE}
    async with Bench(taking.many, filter=Asked(fails={4: 99}), **choices) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(0, 12, 2))
        await bench.advance(40)
        assert taking.taken[0] == [0, 2], "order is kept: what came before it is handed over first"
        assert [n for batch in taking.taken for n in batch] == [0, 2, 6, 8, 10]
        assert [record.offset for record, _ in bench.graveyard.buried] == [4]
        assert bench.transport.committed == {WHERE: 11}


async def test_a_message_that_keeps_its_key_waiting_keeps_its_order() -> None:
    taking, asked = Taking(), Asked(fails={0: 2})
    async with Bench(taking.one, filter=asked, retry=THRICE) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 2, key=b"same")
        await bench.advance(15)
        assert taking.taken == [], "the second waits behind the first, which waits for its filter"
        await bench.advance(15)
        assert taking.taken == [0, 2]


async def test_each_subscription_asks_its_own_filter_and_is_finished_by_itself() -> None:
    evens, all_of_them = Taking(), Taking()
    async with Bench(evens.one, filter=Asked()) as bench:
        bench.worker.add(bench.subscribe(all_of_them.one, "all"))
        bench.transport.assign()
        bench.transport.feed(*range(4))
        await bench.advance(6)
        assert (evens.taken, all_of_them.taken) == ([0, 2], [0, 1, 2, 3])
        assert bench.transport.committed == {WHERE: 4}
        assert bench.worker.routes.unhandled.count == 0


async def test_what_every_subscription_passes_over_is_unhandled_and_told_of_once_a_topic(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def divisible_by(number: int) -> Callable[[Delivery], bool]:
        return lambda delivery: delivery.offset % number == 0

    with caplog.at_level(logging.WARNING):
        async with Bench(Taking().one, filter=divisible_by(2)) as bench:
            bench.worker.add(bench.subscribe(Taking().one, "threes", filter=divisible_by(3)))
            bench.transport.assign()
            bench.transport.feed(*range(12))
            await bench.advance(6)
            bench.transport.feed(13)
            await bench.advance(6)
            assert worker_status(bench.worker, bench.clock).unhandled == 5, "1, 5, 7, 11 and 13"
            assert bench.transport.committed == {WHERE: 14}
    assert [record.getMessage() for record in caplog.records] == [
        f"no handler of group g takes {TOPIC}/0/1: their filters pass it over. Other messages of topic "
        f"{TOPIC} that none takes are only counted: `unhandled` in the bus's status"
    ]


async def test_a_key_that_is_held_by_a_drop_is_forgotten_with_its_filter() -> None:
    """A revocation drops what waits for its filter as it drops what waits for its handler."""
    taking, asked = Taking(), Asked(fails={0: 99})
    async with Bench(taking.one, filter=asked, retry=THRICE) as bench:
        bench.transport.assign()
        bench.transport.feed(0, 1)
        await bench.advance(1)
        revoked = bench.transport.revoke(bench.clock.now() + 1)
        await bench.advance(2)
        await revoked
        assert bench.transport.committed == {WHERE: 0}, "what was not decided is the next owner's"
        assert bench.subscription.status().backing_off == 0
