"""The buffer is shared: what fails, is slow or held leaves room for the others, and the busy lose nothing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.consuming.assignment import OwnedPartition
from convex_messaging_fastapi.consuming.buffer_shares import (
    FETCH_RECORDS,
    PARTITION_FETCH_BYTES,
    Limits,
    buffered,
    filled_by,
    next_turn,
    wanted,
)
from convex_messaging_fastapi.consuming.holds import Holds
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.errors import PublishFailed
from convex_messaging_fastapi.policies import Batch
from convex_messaging_fastapi.records import Lease, TopicPartition
from convex_messaging_fastapi.transport.base import ENOUGH_RECORDS
from tests.consuming.support import TOPIC, WHERE, Bench

MIB = 1024 * 1024
DEFAULTS = Limits(max_uncommitted=10_000, max_buffer_records=10_000, max_buffer_bytes=64 * MIB)

Wanted = Callable[[list[OwnedPartition], Limits, int], Mapping[TopicPartition, int]]


def as_if_nobody_shared(
    owned: list[OwnedPartition], limits: Limits, turn: int
) -> Mapping[TopicPartition, int]:
    """An even share of all the room that is left, whoever holds what."""
    first = turn % max(1, len(owned))
    takers = [each for each in [*owned[first:], *owned[:first]] if each.held is None and each.ledger.room]
    records, size = buffered(owned)
    takers = takers[: (limits.max_buffer_bytes - size) // PARTITION_FETCH_BYTES]
    room = limits.max_buffer_records - records
    if room <= 0 or not takers:
        return {}
    share = max(1, min(FETCH_RECORDS, room // len(takers)))
    return {each.topic_partition: min(share, each.ledger.room) for each in takers[:room]}


class Simulated:
    """A worker's buffer: `busy` partitions have a backlog without end, `stuck` ones finish nothing of it."""

    def __init__(
        self, partitions: int, busy: set[int], stuck: set[int], limits: Limits, want: Wanted
    ) -> None:
        self.owned = [
            OwnedPartition(
                TopicPartition("t", n), Lease(1), Ledger(0, limits.max_uncommitted), Holds(lambda: 0.0)
            )
            for n in range(partitions)
        ]
        self.busy, self.stuck, self.limits, self._want = busy, stuck, limits, want
        self.waiting: dict[int, list[int]] = {n: [] for n in range(partitions)}
        self.finished: Counter[int] = Counter()
        self.most: Counter[int] = Counter()
        self.largest = 0
        self._turn = 0

    def fetch(self) -> None:
        want = self._want(self.owned, self.limits, self._turn)
        got: dict[TopicPartition, int] = {}
        for where, share in want.items():
            if where.partition in self.busy | self.stuck:
                got[where] = share
                self._take(where.partition, share)
            if sum(got.values()) >= ENOUGH_RECORDS:
                break
        self._turn = next_turn(self._turn, [each.topic_partition for each in self.owned], want, got)
        self.largest = max(self.largest, buffered(self.owned)[0])

    def _take(self, n: int, count: int) -> None:
        ledger = self.owned[n].ledger
        offsets = range(ledger.position, ledger.position + count)
        ledger.enter_all(list(offsets), 100 * count)
        self.waiting[n] += offsets
        self.most[n] = max(self.most[n], ledger.unfinished)

    def handle(self, records: int) -> None:
        """So many records in all are finished, taken in turn from those that are not stuck."""
        at_work = [n for n in self.busy - self.stuck if self.waiting[n]]
        for n in at_work:
            done = self.waiting[n][: max(1, records // len(at_work))]
            del self.waiting[n][: len(done)]
            ledger = self.owned[n].ledger
            ledger.finish_all(done, [100] * len(done))
            ledger.mark_committed(ledger.committable)
            self.finished[n] += len(done)


def simulate(
    partitions: int, busy: set[int], stuck: set[int], want: Wanted, rounds: int = 200, **how: int
) -> Simulated:
    limits = Limits(10_000, how.get("records", 10_000), 64 * MIB)
    worker = Simulated(partitions, busy, stuck, limits, want)
    for _ in range(rounds):
        for _ in range(how.get("fetches", 1)):
            worker.fetch()
        worker.handle(how.get("handled", 200))
    return worker


@pytest.mark.parametrize("handled", [20, 200, 1000], ids=lambda n: f"{n} handled a fetch")
@pytest.mark.parametrize("records", [100, 1000, 10_000], ids=lambda n: f"room for {n}")
@pytest.mark.parametrize("partitions", [1, 12, 200])
def test_one_busy_partition_beside_idle_ones_loses_nothing(
    partitions: int, records: int, handled: int
) -> None:
    shared = simulate(partitions, {0}, set(), wanted, records=records, handled=handled)
    before = simulate(partitions, {0}, set(), as_if_nobody_shared, records=records, handled=handled)

    assert shared.finished[0] >= 0.97 * before.finished[0]


@pytest.mark.parametrize("partitions", [12, 200])
def test_all_busy_are_as_fast_as_ever(partitions: int) -> None:
    everyone = set(range(partitions))
    shared = simulate(partitions, everyone, set(), wanted)
    before = simulate(partitions, everyone, set(), as_if_nobody_shared)

    assert sum(shared.finished.values()) >= 0.97 * sum(before.finished.values())


@pytest.mark.parametrize(
    ("partitions", "stuck"), [(2, 1), (12, 1), (12, 11), (100, 80), (200, 1), (200, 199)]
)
@pytest.mark.parametrize("records", [100, 10_000], ids=lambda n: f"room for {n}")
def test_partitions_that_finish_nothing_take_nothing_from_the_others(
    partitions: int, stuck: int, records: int
) -> None:
    stuck_ones = set(range(stuck))
    healthy = set(range(stuck, partitions))
    worker = simulate(partitions, healthy, stuck_ones, wanted, rounds=300, records=records, fetches=2)

    assert not [n for n in healthy if worker.finished[n] < 100], "each goes on"
    assert worker.largest <= records + partitions


def test_the_simulation_sees_what_it_is_to_see() -> None:
    shared = simulate(2, {1}, {0}, wanted, rounds=400, records=1000)
    before = simulate(2, {1}, {0}, as_if_nobody_shared, rounds=400, records=1000)

    assert shared.finished[1] > 50 * before.finished[1]


def test_a_partition_fills_up_three_quarters_at_most_where_there_are_others() -> None:
    worker = simulate(2, set(), {0}, wanted, rounds=500)

    assert worker.most[0] == 7500
    assert simulate(1, set(), {0}, wanted, rounds=500).most[0] == 10_000, "alone it may have all"


sizes = st.lists(st.tuples(st.integers(0, 400), st.integers(0, MIB)), min_size=1, max_size=200)


@given(held=sizes, records=st.integers(1, 20_000), size=st.integers(1, 256 * MIB), turn=st.integers(0, 1000))
def test_whatever_is_held_shares_bind_the_next_fetch(
    held: list[tuple[int, int]], records: int, size: int, turn: int
) -> None:
    limits = Limits(10_000, records, size)
    owned = [holding(n, count, each) for n, (count, each) in enumerate(held)]
    want = wanted(owned, limits, turn)
    buffered_records, buffered_size = buffered(owned)
    room, spare = records - buffered_records, size - buffered_size
    kept = records // 4 if len(owned) > 1 else 0

    empty = [each for each in owned if not each.ledger.unfinished]
    holders = {each.topic_partition for each in owned} - {each.topic_partition for each in empty}
    assert all(want[each.topic_partition] >= 1 for each in empty), "always a record"
    assert all(share <= FETCH_RECORDS for share in want.values())
    assert all(share <= max(1, room // 2) for share in want.values()) or len(owned) == 1
    assert sum(share for where, share in want.items() if where in holders) <= max(0, room - kept)
    assert sum(want.values()) <= max(0, room) + len(empty)
    several = sum(1 for share in want.values() if share > 1)
    if buffered_records:
        assert several * PARTITION_FETCH_BYTES <= max(0, spare), "what one record takes is not reserved"


def holding(number: int, records: int, size: int) -> OwnedPartition:
    ledger = Ledger(0, 10_000)
    ledger.enter_all(list(range(records)), size if records else 0)
    return OwnedPartition(TopicPartition("t", number), Lease(1), ledger, Holds(lambda: 0.0))


@given(held=sizes, seed=st.integers(0, 1000))
def test_a_full_buffer_names_a_partition_only_if_that_holds_half_of_it(
    held: list[tuple[int, int]], seed: int
) -> None:
    owned = [holding(n, count, each) for n, (count, each) in enumerate(held)]
    random.Random(seed).shuffle(owned)
    limits = Limits(10_000, max(1, buffered(owned)[0]), 64 * MIB)
    named = filled_by(owned, limits)
    if named is not None:
        records, size = buffered(owned)
        ledger = named.ledger
        assert 2 * ledger.unfinished >= records or 2 * ledger.bytes_unfinished >= size
        assert len(owned) > 1


# -- a worker with them ---------------------------------------------------------------------------

OTHER = TopicPartition(TOPIC, 1)
ANOTHER_TOPIC = TopicPartition("convex.users", 0)
SMALL = Limits(max_uncommitted=1000, max_buffer_records=100, max_buffer_bytes=64 * MIB)


@pytest.mark.parametrize("how", ["fails", "is held", "has no letter", "is slow", "hangs"])
@pytest.mark.parametrize(
    "batch", [None, Batch(max_records=20, max_wait_seconds=600)], ids=["single", "batch"]
)
async def test_a_key_that_goes_on_for_ever_holds_up_no_other_partition_or_topic(
    how: str, batch: Batch | None
) -> None:
    done: Counter[int] = Counter()

    async def one(message: int) -> None:
        if message >= 1000:
            done[message // 1000] += 1
            return
        if how == "is slow":
            await wait(bench, 5)
        elif how == "hangs":
            await wait(bench, 10**9)
        else:
            raise ValueError("this tenant's account is broken")

    async def several(messages: list[int]) -> None:
        for message in messages:
            await one(message)

    bench = Bench(
        several if batch else one,
        limits=SMALL,
        batch=batch,
        dead_letter="hold" if how == "is held" else "bury",
        topics=(TOPIC, ANOTHER_TOPIC.topic),
    )
    if how == "has no letter":
        bench.graveyard.refuses = PublishFailed("no letter today")
    async with bench:
        bench.transport.assign(WHERE, OTHER, ANOTHER_TOPIC)
        bench.transport.feed(*range(500), key=b"hot")
        await bench.advance(1)
        for n, where in enumerate((OTHER, ANOTHER_TOPIC), 1):
            bench.transport.feed(*range(n * 1000, n * 1000 + 300), where=where)
        await bench.advance(3)

        assert done == {1: 300, 2: 300}
        hot = next(owned for owned in bench.worker.partitions if owned.topic_partition == WHERE)
        assert hot.ledger.unfinished <= 75


async def wait(bench: Bench, seconds: float) -> None:
    woken = asyncio.Event()
    bench.clock.call_later(seconds, woken.set)
    await woken.wait()


async def test_records_larger_than_the_rest_of_the_buffer_are_taken_one_by_one_by_who_holds_nothing() -> None:
    done: list[int] = []

    async def handle(message: int) -> None:
        if message < 100:
            await wait(bench, 10**9)
        done.append(message)

    limits = Limits(max_uncommitted=1000, max_buffer_records=1000, max_buffer_bytes=4 * MIB)
    async with Bench(handle, limits=limits) as bench:
        bench.transport.assign(WHERE, OTHER)
        bench.transport.feed(0, 1, key=b"k" * (3 * MIB))
        await bench.advance(1)
        bench.transport.feed(*range(2, 100), key=b"k" * (3 * MIB))
        bench.transport.feed(*range(100, 110), where=OTHER, key=b"k" * (2 * MIB))
        await bench.advance(5)
        assert done == list(range(100, 110))
        assert len(bench.transport.logs[WHERE]) == 98, "what holds something takes nothing more"


async def test_a_partition_that_has_nothing_left_is_fetched_from_at_once_however_full_the_buffer_is() -> None:
    gates: dict[int, asyncio.Event] = {}

    async def handle(message: int) -> None:
        gates[message] = asyncio.Event()
        await gates[message].wait()

    limits = Limits(max_uncommitted=1000, max_buffer_records=16, max_buffer_bytes=64 * MIB)
    async with Bench(handle, limits=limits, concurrency=2) as bench:
        bench.transport.assign(WHERE, OTHER)
        bench.transport.feed(100, where=OTHER)
        await bench.turns()
        bench.transport.feed(*range(100))
        await bench.advance(1)
        bench.transport.feed(101, where=OTHER)
        while bench.worker._flow._awaited is None:  # until it waits for room
            await bench.advance(0.02)
        before = len(bench.transport.wants)
        gates[100].set()
        await bench.turns()
        wanted_of_other = [want[OTHER] for want in bench.transport.wants[before:] if OTHER in want]
        assert wanted_of_other, "before any time has passed"
        for _ in range(200):
            for gate in gates.values():
                gate.set()
            await bench.advance(0.1)
        assert 101 in gates


async def test_batches_that_no_partition_has_room_for_are_handed_over_all_the_same() -> None:
    taken: Counter[int] = Counter()

    async def handle(messages: list[int]) -> None:
        taken[len(messages)] += 1

    limits = Limits(max_uncommitted=1000, max_buffer_records=400, max_buffer_bytes=64 * MIB)
    batch = Batch(max_records=200, max_wait_seconds=3600)
    async with Bench(handle, limits=limits, batch=batch, commit_interval=1) as bench:
        partitions = [TopicPartition(TOPIC, n) for n in range(20)]
        bench.transport.assign(*partitions)
        for where in partitions:
            bench.transport.feed(*range(100), where=where)
        await bench.advance(60)
        finished = sum(size * count for size, count in taken.items())
        left = sum(len(log) for log in bench.transport.logs.values())
        assert left == 0, "all is taken in"
        assert finished >= 20 * 100 - 400, "and nothing waits but for what may still gather"
