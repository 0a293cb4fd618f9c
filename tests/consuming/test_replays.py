"""Copies of a replay topic: each for the subscription that it names, and finished by the copy's own place."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from convex_messaging_fastapi.errors import PublishFailed
from convex_messaging_fastapi.messages.copies import (
    GROUP,
    HANDLER,
    ORIGINAL,
    ReplayMarks,
    copy_for_handler,
)
from convex_messaging_fastapi.policies import Batch, DeadLetterPolicy, Retry
from convex_messaging_fastapi.records import Delivery, Headers, Record, TopicPartition
from tests.consuming.support import LETTERS, REPLAYS, TOPIC, WHERE, Bench

REPLAYED = TopicPartition(REPLAYS, 0)
MARKS = ReplayMarks(1, f"{LETTERS}/0/7", "job-1", "ada")
GONE = "convex_messaging_fastapi.errors.NoSuchHandler"


def copy(
    offset: int, original: int | Record, handler: str = "handler", group: str = "g", headers: Headers = ()
) -> Record:
    """As it stands in the replay topic at `offset`."""
    if isinstance(original, int):
        original = Record(TOPIC, 3, original, 555, b"key-%d" % original, b"%d" % original, headers)
    written = copy_for_handler(original, group, handler, MARKS)
    return Record(*REPLAYED, offset, 9_999, written.key, written.value, written.headers)


def raw(offset: int, *headers: tuple[str, bytes | None]) -> Record:
    """What somebody else has written there."""
    return Record(*REPLAYED, offset, 9_999, b"k", b"%d" % offset, headers)


class Noting:
    """A handler that remembers what it was given; `fails` says of which messages an attempt fails."""

    def __init__(self, fails: Callable[[int], bool] = lambda message: False) -> None:
        self.messages: list[int] = []
        self.deliveries: list[Delivery] = []
        self.fails = fails

    async def __call__(self, message: int, delivery: Delivery) -> None:
        self.messages.append(message)
        self.deliveries.append(delivery)
        if self.fails(message):
            raise RuntimeError("on purpose")


async def replaying(bench: Bench, *records: Record) -> None:
    bench.transport.assign(WHERE, REPLAYED)
    bench.transport.feed_records(*records)
    await bench.turns()


async def test_the_topic_of_its_group_s_replays_is_one_that_may_be_missing() -> None:
    async with Bench(Noting()) as bench:
        assert bench.transport.optional == (REPLAYS,)
        assert bench.worker.topics == (TOPIC,)


async def test_a_copy_is_given_to_the_subscription_that_it_names_alone_and_as_the_original() -> None:
    named, sibling = Noting(), Noting()
    async with Bench(named) as bench:
        bench.worker.add(bench.subscribe(sibling, "sibling"))
        await replaying(bench, copy(0, 41, headers=(("tenant", b"es"),)))
        await bench.advance(5)
    assert (named.messages, sibling.messages) == ([41], [])
    [told] = named.deliveries
    assert (told.topic, told.record.partition, told.offset) == (TOPIC, 3, 41)
    assert (told.record.timestamp_ms, told.key, told.attempt) == (555, b"key-41", 1)
    assert told.headers == {
        "x-convex-replay-count": "1",
        "x-convex-replay-letter": f"{LETTERS}/0/7",
        "x-convex-replay-job": "job-1",
        "tenant": "es",
    }
    assert bench.transport.committed[REPLAYED] == 1, "the copy's place, and not the original's"


async def test_copies_of_one_place_are_finished_one_by_one() -> None:
    """Two letters may tell of one original, and offsets of originals come in any order."""
    named = Noting()
    async with Bench(named, ordering="none") as bench:
        await replaying(bench, copy(0, 41), copy(1, 41), copy(2, 7), copy(3, 99))
        await bench.advance(5)
    assert named.messages == [41, 41, 7, 99]
    assert bench.transport.committed[REPLAYED] == 4


async def test_nothing_unfinished_is_committed() -> None:
    gate = asyncio.Event()

    async def handle(message: int) -> None:
        if message == 5:
            await gate.wait()

    async with Bench(handle) as bench:
        await replaying(bench, copy(0, 900), copy(1, 5), copy(2, 3))
        await bench.advance(5)
        assert bench.transport.committed[REPLAYED] == 1
        gate.set()
        await bench.advance(5)
        assert bench.transport.committed[REPLAYED] == 3


@pytest.mark.parametrize("group", ["convex.g", "other", "", "G", "g "])
async def test_a_copy_for_another_group_is_passed_over(group: str) -> None:
    named = Noting(lambda message: True)
    async with Bench(named) as bench:
        await replaying(bench, copy(0, 41, group=group))
        await bench.advance(5)
    assert named.messages == []
    assert bench.graveyard.buried == []
    assert bench.subscription.status().handled == bench.subscription.status().filtered == 0
    assert bench.worker.routes.unhandled.count == 0
    assert bench.transport.committed[REPLAYED] == 1


async def test_a_second_failure_is_buried_as_one_of_the_original() -> None:
    named = Noting(lambda message: True)
    async with Bench(named, retry=Retry(attempts=1)) as bench:
        await replaying(bench, copy(0, 41, headers=(("traceparent", b"00-1-2-01"),)))
    [(record, failure)] = bench.graveyard.buried
    assert record[:4] == (TOPIC, 3, 41, 555)
    assert [name for name, _ in record.headers] == [
        "x-convex-replay-count",
        "x-convex-replay-letter",
        "x-convex-replay-job",
        "traceparent",
    ]
    assert (failure.handler, failure.attempts) == ("handler", 1)


async def test_a_batch_gathers_copies_too() -> None:
    batches: list[list[int]] = []

    async def handle(messages: list[int]) -> None:
        batches.append(messages)

    async with Bench(handle, batch=Batch(3, 60.0)) as bench:
        await replaying(bench, *(copy(offset, 10 + offset) for offset in range(3)))
        await bench.advance(5)
    assert batches == [[10, 11, 12]]
    assert bench.transport.committed[REPLAYED] == 3


async def test_a_filter_is_not_asked_again() -> None:
    """It wanted the message when the handler failed on it."""
    named, asked = Noting(), []

    def wants(delivery: Delivery) -> bool:
        asked.append(delivery.offset)
        return False

    async with Bench(named, filter=wants) as bench:
        await replaying(bench, copy(0, 41))
        assert (named.messages, asked) == ([41], [])
        status = bench.subscription.status()
        assert (status.handled, status.filtered) == (1, 0)


async def one(message: int) -> None:
    raise AssertionError("nobody is to get it")


async def many(messages: list[int]) -> None:
    raise AssertionError("nobody is to get them")


@pytest.mark.parametrize("policy", ["bury", "hold", "discard"])
@pytest.mark.parametrize("batch", [None, Batch(10, 1.0)])
async def test_a_copy_whose_handler_is_gone_is_buried_again(
    policy: DeadLetterPolicy, batch: Batch | None
) -> None:
    """Whatever the handlers want that there are: it was none of theirs."""

    handler = one if batch is None else many
    async with Bench(handler, dead_letter=policy, batch=batch) as bench:
        await replaying(bench, copy(0, 41, handler="renamed"))
        await bench.advance(6)
    [(record, failure)] = bench.graveyard.buried
    assert record[:4] == (TOPIC, 3, 41, 555)
    assert (failure.exception_type, failure.handler, failure.attempts) == (GONE, "renamed", 0)
    assert failure.text == "group 'g' has no handler 'renamed' any more"
    assert bench.transport.committed[REPLAYED] == 1


async def test_until_its_letter_is_written_the_replays_wait_and_nothing_else() -> None:
    async with Bench(Noting()) as bench:
        bench.graveyard.gate = asyncio.Event()
        await replaying(bench, copy(0, 41, handler="renamed"), copy(1, 42))
        bench.transport.feed(0)
        await bench.advance(5)
        assert bench.transport.committed == {REPLAYED: 0, WHERE: 1}
        bench.graveyard.gate.set()
        await bench.advance(5)
        assert bench.transport.committed[REPLAYED] == 2


STRANGE = {
    "no header at all": raw(0),
    "no handler": raw(0, (GROUP, b"g"), (ORIGINAL, b"convex.bets/3/41/555")),
    "a handler that is no text": raw(0, (HANDLER, b"\xff\x1b[2J")),
    "a long handler": raw(0, (HANDLER, b"h" * 100_000)),
}


@pytest.mark.parametrize("record", STRANGE.values(), ids=STRANGE)
async def test_what_names_no_handler_is_buried_where_it_stands(record: Record) -> None:
    async with Bench(Noting()) as bench:
        await replaying(bench, record)
        await bench.advance(5)
    [(buried, failure)] = bench.graveyard.buried
    assert (buried.key, buried.value) == (record.key, record.value)
    assert failure.exception_type == GONE
    assert failure.text.isprintable()
    assert len(failure.text) < 400
    assert failure.handler is None or len(failure.handler) < 300
    assert bench.transport.committed[REPLAYED] == 1


async def test_what_does_not_say_of_what_it_is_a_copy_is_taken_as_it_is() -> None:
    named = Noting()
    async with Bench(named) as bench:
        await replaying(bench, raw(5, (HANDLER, b"handler"), (ORIGINAL, b"not a place")))
    [told] = named.deliveries
    assert (told.topic, told.offset, told.headers) == (REPLAYS, 5, {})


async def test_a_copy_that_claims_to_be_of_a_letter_holds_up_nothing() -> None:
    """What is read from the dead letters is held, for it was buried before; this was read elsewhere."""
    letter = Record(LETTERS, 0, 3, 555, b"k", b"41")
    async with Bench(Noting(lambda message: True), retry=Retry(attempts=1)) as bench:
        await replaying(bench, copy(0, letter))
        await bench.advance(5)
    [(record, _)] = bench.graveyard.buried
    assert record.topic == LETTERS
    assert bench.transport.committed[REPLAYED] == 1


class Turnstile:
    """A handler whose calls wait until the test lets them through."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.gate = asyncio.Event()

    async def __call__(self, message: int) -> None:
        self.begun.append(message)
        await self.gate.wait()


async def test_copies_that_wait_for_a_subscription_that_leaves_are_buried_again() -> None:
    """Its other messages are for the other handlers of their topic; a copy is for nobody else."""
    leaving, stays = Turnstile(), Noting()
    async with Bench(leaving, concurrency=1) as bench:
        bench.worker.add(bench.subscribe(stays, "stays"))
        await replaying(bench, copy(0, 41), copy(1, 42), copy(2, 43, handler="stays"))
        assert leaving.begun == [41]
        detaching = asyncio.ensure_future(bench.worker.detach("handler", 5.0))
        await bench.turns()
        leaving.gate.set()
        await bench.turns()
        await detaching
        await bench.advance(5)
        assert stays.messages == [43]
        [(record, failure)] = bench.graveyard.buried
        assert (record.offset, failure.exception_type, failure.handler) == (42, GONE, "handler")
        assert bench.transport.committed[REPLAYED] == 3


async def test_what_the_last_subscription_leaves_is_not_committed() -> None:
    leaving = Turnstile()
    async with Bench(leaving, concurrency=1) as bench:
        await replaying(bench, copy(0, 41), copy(1, 42))
        detaching = asyncio.ensure_future(bench.worker.detach("handler", 5.0))
        await bench.turns()
        leaving.gate.set()
        bench.transport.feed_records(copy(2, 43))
        await bench.turns()
        await detaching
        await bench.advance(5)
    assert bench.graveyard.buried == []
    assert bench.transport.committed.get(REPLAYED, 0) <= 1


async def test_a_stray_goes_on_to_another_host_when_its_own_leaves() -> None:
    async with Bench(Noting()) as bench:
        bench.worker.add(bench.subscribe(Noting(), "second"))
        bench.graveyard.refuses = PublishFailed("no letter today")
        await replaying(bench, copy(0, 41, handler="renamed"))
        await bench.worker.detach("handler", 0.0)
        bench.graveyard.refuses = None
        await bench.advance(6)
        [(_, failure)] = bench.graveyard.buried
        assert failure.handler == "renamed"
        assert bench.transport.committed[REPLAYED] == 1


async def test_a_message_of_any_other_topic_costs_no_call_more() -> None:
    """Of our own functions; a comparison a fetch is what tells a copy from it."""
    with_replays, without = [await _calls(topic) for topic in (REPLAYS, None)]
    assert with_replays == without
    assert with_replays["Dispatch.handle"] == 100
    assert not [name for name in with_replays if name.startswith(("Replays", "read_copy"))]


async def _calls(replay_topic: str | None) -> Counter[str]:
    """What is called from the fetch of a hundred messages to their commit."""
    called = Counter[str]()

    def note(frame: Any, event: str, argument: object) -> None:
        if event == "call" and "/convex_messaging_fastapi/" in frame.f_code.co_filename:
            called[frame.f_code.co_qualname] += 1

    handler = Noting()
    async with Bench(handler, commit_interval=None, replay_topic=replay_topic) as bench:
        bench.transport.assign()
        await bench.turns()
        bench.transport.feed(*range(100))
        sys.setprofile(note)
        try:
            await bench.turns()
        finally:
            sys.setprofile(None)
        assert len(handler.messages) == 100
        assert bench.transport.committed[WHERE] == 100
    return called
