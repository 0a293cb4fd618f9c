"""Lanes keep the order that was asked for, let everything else go side by side, and take turns."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from convex_messaging_fastapi.consuming.assignment import Job, OwnedPartition
from convex_messaging_fastapi.consuming.holds import Holds
from convex_messaging_fastapi.consuming.lanes import (
    Lane,
    LaneKey,
    Lanes,
    by_key,
    by_key_or_unordered,
    by_partition,
    unordered,
)
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.records import Lease, Record, TopicPartition

TOPIC = "convex.bets"


def owned(partition: int = 0, epoch: int = 1) -> OwnedPartition:
    return OwnedPartition(TopicPartition(TOPIC, partition), Lease(epoch), Ledger(0, 1000), Holds(lambda: 0.0))


def job(home: OwnedPartition, offset: int, key: bytes | None = None) -> Job:
    return Job(Record(TOPIC, home.topic_partition.partition, offset, 0, key, b"{}"), home, 2)


def started(lanes: Lanes) -> list[int]:
    """Offsets of everything that may start now."""
    return [taken.record.offset for _, jobs in all_ready(lanes) for taken in jobs]


def all_ready(lanes: Lanes) -> list[tuple[Lane, Sequence[Job]]]:
    taken = []
    while (head := lanes.next()) is not None:
        taken.append(head)
    return taken


def fill(lanes: Lanes, *jobs: Job) -> None:
    for each in jobs:
        lanes.add(each.owned, [each])


def a_hot_key_and_two_others(home: OwnedPartition) -> list[Job]:
    return [*(job(home, n, b"hot") for n in range(5)), job(home, 5, b"a"), job(home, 6, b"b")]


def one_by_one(lanes: Lanes) -> list[int]:
    """Offsets of everything, as one after another is begun and finished."""
    order = []
    while (taken := lanes.next()) is not None:
        order.append(taken[1][0].record.offset)
        lanes.release(taken[0])
    return order


def test_one_key_runs_one_after_another_and_other_keys_beside_it() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, job(home, 0, b"a"), job(home, 1, b"a"), job(home, 2, b"b"))

    (first, _), (second, _) = all_ready(lanes)
    assert lanes.next() is None

    lanes.release(first)
    assert started(lanes) == [1]
    lanes.release(second)


def test_the_same_key_in_two_partitions_is_two_orders() -> None:
    lanes = Lanes(by_key)
    fill(lanes, job(owned(0), 0, b"a"), job(owned(1), 0, b"a"))

    assert started(lanes) == [0, 0]


def test_records_without_a_key_keep_the_order_of_their_partition() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, job(home, 0), job(home, 1))

    assert started(lanes) == [0]


def test_an_empty_key_is_a_key() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, job(home, 0, b""), job(home, 1))

    assert started(lanes) == [0, 1]


def test_keyless_commands_run_side_by_side() -> None:
    lanes, home = Lanes(by_key_or_unordered), owned()
    fill(lanes, job(home, 0), job(home, 1), job(home, 2, b"a"), job(home, 3, b"a"))

    assert started(lanes) == [0, 1, 2]


def test_without_order_everything_runs_side_by_side() -> None:
    lanes, home = Lanes(unordered), owned()
    fill(lanes, job(home, 0, b"a"), job(home, 1, b"a"))

    assert started(lanes) == [0, 1]


def test_partition_order_ignores_keys() -> None:
    lanes, home = Lanes(by_partition), owned()
    fill(lanes, job(home, 0, b"a"), job(home, 1, b"b"))

    assert started(lanes) == [0]


def test_a_key_with_a_backlog_takes_turns_with_the_others() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, *a_hot_key_and_two_others(home))
    lanes.sort()

    assert one_by_one(lanes)[:3] == [0, 5, 6]


def test_whoever_is_at_work_alone_takes_what_came_in_its_order() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, *a_hot_key_and_two_others(home))

    assert (lanes.ready, lanes.waiting) == (7, 7)
    assert one_by_one(lanes) == [0, 1, 2, 3, 4, 5, 6]


def test_a_second_at_work_does_not_begin_what_the_first_must_finish_before() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, *a_hot_key_and_two_others(home))
    hot = lanes.next()
    assert hot is not None

    assert started(lanes) == [5, 6]
    lanes.release(hot[0])
    assert started(lanes) == [1]


def test_what_comes_while_the_first_is_at_work_is_kept_in_its_order_too() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, job(home, 0, b"hot"))
    hot = lanes.next()
    assert hot is not None
    fill(lanes, job(home, 1, b"hot"), job(home, 2, b"a"))

    assert started(lanes) == [2]
    lanes.release(hot[0])
    assert started(lanes) == [1]


def test_a_job_that_is_to_be_tried_again_at_once_stays_before_what_came_after_it() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, job(home, 0, b"a"), job(home, 1, b"a"), job(home, 2, b"b"))
    failed = lanes.next()
    assert failed is not None

    lanes.release(*failed)

    assert one_by_one(lanes) == [2, 0, 1]


def test_what_is_finished_is_not_held_on_to() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, job(home, 0, b"a"))
    one_by_one(lanes)

    assert not [each for each in gc.get_objects() if isinstance(each, Job) and each.owned is home]


def test_once_all_lanes_are_empty_whoever_is_alone_has_what_comes_in_its_order_again() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, *a_hot_key_and_two_others(home))
    lanes.sort()
    one_by_one(lanes)

    fill(lanes, *a_hot_key_and_two_others(home))

    assert one_by_one(lanes) == [0, 1, 2, 3, 4, 5, 6]


def test_a_failing_key_waits_and_nothing_of_it_overtakes() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, job(home, 0, b"bad"), job(home, 1, b"bad"), job(home, 2, b"good"))
    (bad, jobs), (good, _) = all_ready(lanes)

    lanes.back_off(bad, jobs)
    lanes.release(good)
    assert lanes.next() is None
    assert (lanes.backing_off, lanes.waiting) == (1, 2)

    lanes.wake(bad)
    assert started(lanes) == [0]
    assert lanes.backing_off == 0


def test_dropping_a_partition_forgets_what_waits_there_and_nothing_else() -> None:
    lanes, lost, kept = Lanes(by_key), owned(0), owned(1)
    fill(lanes, job(lost, 0, b"a"), job(lost, 1, b"b"), job(kept, 7, b"a"))

    dropped = lanes.drop(lost)

    assert [each.record.offset for each in dropped] == [0, 1]
    assert started(lanes) == [7]


def test_a_back_off_that_ends_after_its_partition_is_gone_wakes_nothing() -> None:
    lanes, home = Lanes(by_key), owned()
    fill(lanes, job(home, 0, b"a"))
    ((lane, jobs),) = all_ready(lanes)
    lanes.back_off(lane, jobs)

    lanes.drop(home)
    lanes.wake(lane)

    assert lanes.next() is None
    assert (lanes.waiting, lanes.backing_off) == (0, 0)


def test_a_key_still_running_from_an_earlier_assignment_holds_up_the_same_key_of_the_next() -> None:
    """The partition came back while the old handler call, cancelled, has not ended yet."""
    lanes, before, after = Lanes(by_key), owned(epoch=1), owned(epoch=2)
    fill(lanes, job(before, 0, b"a"))
    ((lane, jobs),) = all_ready(lanes)
    before.lease.revoked = True
    lanes.drop(before)

    fill(lanes, job(after, 0, b"a"), job(after, 1, b"b"))
    assert started(lanes) == [1]

    lanes.release(lane, jobs)
    assert started(lanes) == [0], "the old call is over; its own job is dropped, not put back"
    assert lanes.waiting == 0


def test_a_batch_gathers_until_it_is_full() -> None:
    lanes, home = Lanes(by_partition, batch_size=3), owned()
    fill(lanes, job(home, 0), job(home, 1))
    assert lanes.next() is None

    fill(lanes, job(home, 2))

    assert started(lanes) == [0, 1, 2]


def test_a_batch_that_is_not_full_is_handed_over_when_it_is_ripened() -> None:
    lanes, home = Lanes(by_partition, batch_size=3), owned()
    (lane,) = lanes.add(home, [job(home, 0)])

    lanes.close_batch(lane, lane.turn)

    assert started(lanes) == [0]


def test_the_wait_of_one_batch_does_not_cut_the_next_one_short() -> None:
    lanes, home = Lanes(by_partition, batch_size=2), owned()
    (gathering,) = lanes.add(home, [job(home, 0)])
    first_turn = gathering.turn
    fill(lanes, job(home, 1))
    ((lane, _),) = all_ready(lanes)
    fill(lanes, job(home, 2))
    lanes.release(lane)

    lanes.close_batch(lane, first_turn)
    assert lanes.next() is None

    lanes.close_batch(lane, lane.turn)
    assert started(lanes) == [2]


def test_a_failed_batch_is_tried_again_with_the_same_members() -> None:
    lanes, home = Lanes(by_partition, batch_size=2), owned()
    fill(lanes, job(home, 0), job(home, 1), job(home, 2))
    ((lane, jobs),) = all_ready(lanes)
    for each in jobs[1:]:
        each.attempts = 1

    lanes.back_off(lane, jobs[1:])
    lanes.wake(lane)

    assert started(lanes) == [1], "offset 2 has never failed: it is no member of that batch"


def test_members_of_a_spent_batch_run_alone() -> None:
    lanes, home = Lanes(by_partition, batch_size=2), owned()
    fill(lanes, job(home, 0), job(home, 1))
    ((lane, jobs),) = all_ready(lanes)
    for each in jobs:
        each.single, each.attempts = True, 1

    lanes.release(lane, jobs)

    assert started(lanes) == [0]


class LanesKeepOrder(RuleBasedStateMachine):
    """Random arrivals, completions, back-offs and revocations: per key never two at once, in order."""

    @initialize(lane_key=st.sampled_from([by_key, by_key_or_unordered, by_partition]))
    def begin(self, lane_key: Callable[[Job], LaneKey]) -> None:
        self.lane_key = lane_key
        self.lanes = Lanes(lane_key)
        self.homes = {n: owned(n) for n in range(2)}
        self.offsets = dict.fromkeys(self.homes, 0)
        self.running: list[tuple[Lane, Sequence[Job]]] = []
        self.parked: list[Lane] = []
        self.queued: dict[tuple[int, LaneKey], list[int]] = {}

    def order_of(self, each: Job) -> tuple[int, LaneKey]:
        return (each.record.partition, self.lane_key(each))

    @rule(partition=st.integers(0, 1), key=st.sampled_from([b"a", b"b", None]))
    def arrive(self, partition: int, key: bytes | None) -> None:
        each = job(self.homes[partition], self.offsets[partition], key)
        self.offsets[partition] += 1
        self.queued.setdefault(self.order_of(each), []).append(each.record.offset)
        self.lanes.add(each.owned, [each])

    @rule()
    def start(self) -> None:
        taken = self.lanes.next()
        if taken is None:
            return
        (each,) = taken[1]
        assert self.queued[self.order_of(each)][0] == each.record.offset
        assert all(self.order_of(jobs[0]) != self.order_of(each) for _, jobs in self.running)
        self.running.append(taken)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fails=st.booleans())
    def end(self, data: st.DataObject, fails: bool) -> None:
        lane, jobs = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        gone = jobs[0].owned.lease.revoked
        if fails:
            self.lanes.back_off(lane, jobs)
            if lane.jobs:
                self.parked.append(lane)
        else:
            self.lanes.release(lane)
        if not gone and not fails:
            self.queued[self.order_of(jobs[0])].pop(0)

    @rule()
    def sort(self) -> None:
        self.lanes.sort()

    @precondition(lambda self: self.parked)
    @rule()
    def wake(self) -> None:
        self.lanes.wake(self.parked.pop(0))

    @rule(partition=st.integers(0, 1))
    def revoke(self, partition: int) -> None:
        home = self.homes[partition]
        home.lease.revoked = True
        self.lanes.drop(home)
        self.homes[partition] = owned(partition, home.lease.epoch + 1)
        for order in [order for order in self.queued if order[0] == partition]:
            del self.queued[order]

    @invariant()
    def jobs_are_counted(self) -> None:
        running = sum(1 for _, jobs in self.running for each in jobs if not each.owned.lease.revoked)
        assert self.lanes.waiting == sum(map(len, self.queued.values())) - running


TestLanesKeepOrder = LanesKeepOrder.TestCase
