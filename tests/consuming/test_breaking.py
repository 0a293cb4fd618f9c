"""What an open breaker does to a worker: what it fetches, tries, keeps and tells, and how that ends."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

import pytest

from convex_messaging_fastapi.consuming.breaking import BREAKER_OPEN
from convex_messaging_fastapi.consuming.snapshots import worker_status
from convex_messaging_fastapi.errors import Discard, MessageError, Reject
from convex_messaging_fastapi.messages.copies import ReplayMarks, copy_for_handler
from convex_messaging_fastapi.policies import Batch, Breaker, Retry
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.status import BreakerStatus
from tests.consuming.support import LETTERS, REPLAYS, TOPIC, WHERE, Bench

BREAKER = Breaker(share=1, of=3, wait_seconds=30)
OTHER = TopicPartition(TOPIC, 1)


class Fails:
    """Fails with `error`, where there is one; notes what it was given."""

    def __init__(self) -> None:
        self.error: Callable[[int], BaseException | None] = lambda offset: ConnectionError("away")
        self.tried: list[int] = []
        self.gate: asyncio.Event | None = None

    async def __call__(self, message: int) -> None:
        self.tried.append(message)
        if self.gate is not None:
            await self.gate.wait()
        if (error := self.error(message)) is not None:
            raise error


def well(offset: int) -> None:
    return None


def bench_with(handler: Fails, **choices: object) -> Bench:
    return Bench(handler, **({"breaker": BREAKER, "concurrency": 1} | choices))  # type: ignore[arg-type]


async def opened(bench: Bench, count: int = 5) -> None:
    """So that it is open, and no time has passed."""
    bench.transport.assign()
    bench.transport.feed(*range(count))
    await bench.turns()
    assert status(bench).is_open


def status(bench: Bench) -> BreakerStatus:
    found = bench.subscription.status().breaker
    assert found is not None
    return found


async def test_it_opens_and_nothing_more_is_begun_or_fetched_or_buried() -> None:
    handler = Fails()
    async with bench_with(handler) as bench:
        await opened(bench)
        bench.transport.feed(5, 6, 7)
        bench.transport.wants.clear()
        await bench.advance(29)

        assert handler.tried == [0, 1, 2]
        assert bench.transport.wants
        assert not any(bench.transport.wants)
        assert not bench.graveyard.buried
        assert [owned.held for owned in bench.worker.partitions] == [BREAKER_OPEN]
        [told] = worker_status(bench.worker, bench.clock).subscriptions
        assert told.breaker == status(bench)
        assert (status(bench).is_open, status(bench).openings) == (True, 1)
        assert status(bench).open_seconds == pytest.approx(29)


async def test_one_is_tried_each_time_of_the_next_lane_and_each_failure_doubles_the_wait() -> None:
    handler = Fails()
    async with bench_with(handler) as bench:
        await opened(bench)
        waits: list[float] = []
        while len(waits) < 6:
            tried, began = len(handler.tried), bench.clock.now()
            while len(handler.tried) == tried:
                await bench.advance(0.5)
            waits.append(bench.clock.now() - began)

        assert handler.tried[3:] == [3, 4, 0, 1, 2, 3]
        assert waits == pytest.approx([30, 60, 120, 240, 300, 300], abs=1)
        assert not bench.graveyard.buried


async def test_success_closes_it_and_everything_is_handled_and_fetched() -> None:
    handler = Fails()
    async with bench_with(handler) as bench:
        await opened(bench)
        bench.transport.feed(5, 6, 7)
        handler.error = well
        await bench.advance(50)

        assert sorted(handler.tried[3:]) == list(range(8))
        assert handler.tried[3] == 3
        assert status(bench) == BreakerStatus(is_open=False, open_seconds=0, openings=1)
        assert [owned.held for owned in bench.worker.partitions] == [None]


async def test_attempts_are_given_back_when_it_opens() -> None:
    """Two failed tries are the last that a message has; with one of them given back it has two again."""
    handler = Fails()
    async with bench_with(handler) as bench:
        await opened(bench, 3)
        handler.error = lambda offset: ValueError("poison") if offset == 0 else None
        await bench.advance(35)
        assert handler.tried[3:].count(0) == 1
        assert not bench.graveyard.buried

        await bench.advance(70)
        assert handler.tried[3:].count(0) == 3
        assert [record.offset for record, _ in bench.graveyard.buried] == [0]


async def test_a_message_is_not_buried_while_none_has_succeeded_since_it_first_failed() -> None:
    handler = Fails()
    async with bench_with(handler, breaker=Breaker(of=20)) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(3))
        handler.error = well
        await bench.turns()
        handler.error = lambda offset: ConnectionError("away")
        bench.transport.feed(*range(10, 13))
        await bench.advance(9)
        assert not status(bench).is_open
        await bench.advance(2)

        assert status(bench).is_open
        assert not bench.graveyard.buried


@pytest.mark.parametrize("telling_nothing", [Reject("no"), Discard("no"), MessageError("no")])
async def test_what_tells_nothing_is_ended_and_the_next_is_tried_at_once(
    telling_nothing: Exception,
) -> None:
    handler = Fails()
    async with bench_with(handler, retry=Retry(delay_seconds=1, never=(MessageError,))) as bench:
        await opened(bench)
        handler.tried.clear()
        handler.error = lambda offset: telling_nothing if offset == 3 else ConnectionError("away")
        await bench.advance(30.5)

        assert handler.tried == [3, 4]
        assert len(bench.graveyard.buried) == (0 if isinstance(telling_nothing, Discard) else 1)
        assert status(bench).is_open
        await bench.advance(59)
        assert handler.tried == [3, 4]


async def test_failures_that_tell_nothing_open_nothing() -> None:
    handler = Fails()
    handler.error = lambda offset: Reject("no")
    async with bench_with(handler) as bench:
        bench.transport.assign()
        bench.transport.feed(*range(50))
        await bench.turns()

        assert len(bench.graveyard.buried) == 50
        assert status(bench).openings == 0


async def test_what_runs_when_it_opens_is_kept_as_well() -> None:
    """Each of the other runners had begun its last try."""
    handler = Fails()
    async with bench_with(handler, concurrency=8, retry=Retry(attempts=1)) as bench:
        handler.gate = asyncio.Event()
        bench.transport.assign()
        bench.transport.feed(*range(8))
        await bench.turns()
        handler.gate.set()
        await bench.turns()

        assert status(bench).is_open
        assert len(bench.graveyard.buried) == 2, "those that failed before three keys did"
        handler.error = well
        await bench.advance(31)
        assert len(bench.graveyard.buried) == 2
        assert sorted(handler.tried[8:]) == sorted(
            set(range(8)) - {r.offset for r, _ in bench.graveyard.buried}
        )


async def test_a_batch_is_kept_whole() -> None:
    tried: list[list[int]] = []
    away = True

    async def handle(messages: list[int]) -> None:
        tried.append(messages)
        if away:
            raise ConnectionError("away")

    three = [TopicPartition(TOPIC, n) for n in range(3)]
    async with Bench(handle, breaker=BREAKER, batch=Batch(max_records=2, max_wait_seconds=0)) as bench:
        bench.transport.assign(*three)
        for where in three:
            bench.transport.feed(0, 1, where=where)
        await bench.advance(20)
        assert status(bench).is_open
        away = False
        await bench.advance(60)

        assert tried == [[0, 1]] * 6
        assert not bench.graveyard.buried


async def test_a_revocation_loses_nothing_and_what_comes_next_is_tried() -> None:
    """Everything that waited is gone, so something must be fetched to tell of the end of the outage."""
    handler = Fails()
    async with bench_with(handler) as bench:
        await opened(bench)
        bench.transport.revoke(bench.clock.now() + 3)
        await bench.turns()
        assert not bench.worker.partitions
        bench.transport.assign(WHERE, OTHER)
        bench.transport.feed(0, 1, 2, where=OTHER)
        await bench.advance(25)
        assert handler.tried == [0, 1, 2]

        await bench.advance(10)
        assert handler.tried == [0, 1, 2, 0]
        handler.error = well
        await bench.advance(70)
        assert handler.tried[4:] == [1, 2, 0]
        assert not status(bench).is_open


async def test_a_revocation_while_one_is_tried_lets_the_next_be_tried() -> None:
    handler = Fails()
    async with bench_with(handler) as bench:
        await opened(bench)
        handler.gate = asyncio.Event()
        await bench.advance(30.1)
        assert handler.tried == [0, 1, 2, 3]
        revoking = bench.transport.revoke(bench.clock.now() + 1)
        await bench.advance(2)
        await revoking
        handler.gate, handler.error = None, well
        bench.transport.assign(OTHER)
        bench.transport.feed(7, 8, where=OTHER)
        await bench.advance(1)

        assert handler.tried[4:] == [7, 8]
        assert not status(bench).is_open


async def test_what_fails_for_the_last_time_in_the_drain_of_a_revocation_is_not_buried_either() -> None:
    handler = Fails()
    async with bench_with(handler, concurrency=8, retry=Retry(attempts=1)) as bench:
        handler.error = lambda offset: Reject("no") if offset < 2 else ConnectionError("away")
        handler.gate = asyncio.Event()
        bench.transport.assign()
        bench.transport.feed(*range(8))
        await bench.turns()
        revoking = bench.transport.revoke(bench.clock.now() + 5)
        await bench.turns()
        handler.gate.set()
        await bench.advance(1)
        await revoking

        # As ever, two are given up before a third key can tell.
        assert sorted(record.offset for record, _ in bench.graveyard.buried) == [0, 1, 2, 3]
        assert bench.transport.committed == {WHERE: 4}


@pytest.mark.parametrize("ends_well", [True, False])
async def test_one_that_hangs_does_not_keep_the_others_away(ends_well: bool) -> None:
    handler = Fails()
    async with bench_with(handler, concurrency=8) as bench:
        await opened(bench, 3)
        handler.tried.clear()
        hanging = handler.gate = asyncio.Event()
        await bench.advance(61)
        assert handler.tried == [0]
        handler.gate = None
        if ends_well:
            handler.error = well
            hanging.set()
            await bench.advance(1)
            assert sorted(handler.tried) == [0, 1, 2]
        else:
            await bench.advance(60)
            assert handler.tried == [0, 1]
        assert status(bench).is_open is not ends_well
        hanging.set()


async def test_once_every_lane_was_tried_others_are_fetched() -> None:
    """Three poisoned keys look like an outage, and must not keep healthy ones away for ever."""
    handler = Fails()
    handler.error = lambda offset: ValueError("poison") if offset < 3 else None
    often = Retry(attempts=2, delay_seconds=0.1, jitter=0)
    async with bench_with(handler, breaker=Breaker(of=3, wait_seconds=1), retry=often) as bench:
        await opened(bench, 3)
        bench.transport.feed(3, 4, 5)
        await bench.advance(60)
        assert status(bench).is_open
        assert set(handler.tried) == {0, 1, 2}
        await bench.advance(80)

        assert {3, 4, 5} <= set(handler.tried)


async def test_a_stop_while_it_is_open_commits_nothing_that_failed() -> None:
    handler = Fails()
    async with bench_with(handler, commit_interval=None) as bench:
        await opened(bench)
        await bench.advance(31)
    assert bench.transport.stopped
    assert bench.transport.committed.get(WHERE, 0) == 0


async def test_a_subscription_that_is_taken_away_lets_its_siblings_go_on() -> None:
    handler, sibling = Fails(), Fails()
    sibling.error = well
    async with bench_with(handler) as bench:
        bench.worker.add(bench.subscribe(sibling, "sibling"))
        await opened(bench)
        handler.gate = asyncio.Event()
        await bench.advance(31)
        detaching = asyncio.ensure_future(bench.worker.detach("handler", 1.0))
        await bench.turns()
        handler.gate.set()  # the one that is tried fails once the subscription is leaving
        await bench.advance(1)
        await detaching
        bench.transport.feed(5, 6)
        await bench.advance(1)

        assert sibling.tried == list(range(7))


REPLAYED = TopicPartition(REPLAYS, 0)


def copies(handler: str, *offsets: int, original: int | None = None) -> list[Record]:
    """As they stand in the replay topic: each of an original of its own topic, by default at that offset."""
    marks = ReplayMarks(1, f"{LETTERS}/0/7", "job-1", "ada")
    made: list[Record] = []
    for offset in offsets:
        stood_at = offset if original is None else original
        message = Record(f"{TOPIC}-{offset}", 3, stood_at, 555, b"key-%d" % offset, b"%d" % offset)
        written = copy_for_handler(message, "g", handler, marks)
        made.append(Record(*REPLAYED, offset, 9_999, written.key, written.value, written.headers))
    return made


async def test_copies_are_told_apart_by_their_own_places() -> None:
    """Their originals may have stood at one offset, each of a topic of its own."""
    handler = Fails()
    async with bench_with(handler) as bench:
        bench.transport.assign(REPLAYED)
        bench.transport.feed_records(*copies("handler", 0, 1, 2, original=41))
        await bench.turns()
        assert status(bench).is_open


async def test_while_it_is_open_copies_for_its_siblings_are_fetched_and_its_own_wait() -> None:
    """Its group's replays go on: only the topics that it subscribes to are held."""
    handler, sibling = Fails(), Fails()
    sibling.error = well
    async with bench_with(handler) as bench:
        bench.worker.add(bench.subscribe(sibling, "sibling"))
        bench.transport.assign(WHERE, REPLAYED)
        bench.transport.feed(*range(3))
        await bench.turns()
        assert status(bench).is_open
        bench.transport.feed_records(*copies("handler", 0, 1), *copies("sibling", 2, 3))
        await bench.advance(5)

        assert {owned.topic_partition: owned.held for owned in bench.worker.partitions} == {
            WHERE: BREAKER_OPEN,
            REPLAYED: None,
        }
        assert sibling.tried[3:] == [2, 3]
        assert handler.tried == [0, 1, 2]
        assert not bench.graveyard.buried
        assert bench.transport.committed.get(REPLAYED, 0) == 0
        handler.error = well
        await bench.advance(60)

        assert sorted(handler.tried[3:]) == [0, 0, 1, 1, 2]
        assert bench.transport.committed[REPLAYED] == 4


async def test_copies_alone_open_it_and_one_of_them_closes_it() -> None:
    handler = Fails()
    async with bench_with(handler) as bench:
        bench.transport.assign(WHERE, REPLAYED)
        bench.transport.feed_records(*copies("handler", *range(5)))
        await bench.turns()
        assert status(bench).is_open
        handler.error = well
        await bench.advance(40)

        assert not status(bench).is_open
        assert not bench.graveyard.buried
        assert bench.transport.committed[REPLAYED] == 5


async def test_an_operator_may_close_it() -> None:
    handler = Fails()
    async with bench_with(handler) as bench:
        await opened(bench)
        handler.error = well
        bench.subscription.resume()
        bench.subscription.resume()
        await bench.turns()

        assert handler.tried[3:] == [3, 4]
        await bench.advance(11)
        assert sorted(handler.tried[3:]) == [0, 1, 2, 3, 4]


async def test_it_is_told_once_when_it_opens_and_once_when_it_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "convex_messaging_fastapi")
    handler = Fails()
    async with bench_with(handler) as bench:
        await opened(bench)
        await bench.advance(31)
        handler.error = well
        await bench.advance(61)
        told = [record for record in caplog.records if "breaker" in record.getMessage()]

    opening, closing = (record.getMessage() for record in told)
    assert opening == (
        "the breaker of handler opens: its messages fail (ConnectionError), one is tried in 30 s"
    )
    assert re.fullmatch(r"the breaker of handler closes after 9\d\.\d s, and it goes on", closing)
    assert [record.__dict__["handler"] for record in told] == ["handler", "handler"]
