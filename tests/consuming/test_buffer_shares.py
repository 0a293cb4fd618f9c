"""Fetching stops before any limit can be passed, and every partition gets its share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.consuming.assignment import OwnedPartition
from convex_messaging_fastapi.consuming.buffer_shares import (
    FETCH_RECORDS,
    PARTITION_FETCH_BYTES,
    Limits,
    buffered,
    next_turn,
    records_short,
    wanted,
)
from convex_messaging_fastapi.consuming.holds import Hold, Holds
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.records import Lease, TopicPartition

ROOMY = Limits(max_uncommitted=10_000, max_buffer_records=10_000, max_buffer_bytes=64 * 1024 * 1024)


def partition(number: int, open_records: int = 0, size: int = 100, limits: Limits = ROOMY) -> OwnedPartition:
    ledger = Ledger(0, limits.max_uncommitted)
    for offset in range(open_records):
        ledger.enter(offset, size)
    return OwnedPartition(TopicPartition("t", number), Lease(1), ledger, Holds(lambda: 0.0))


def numbers(want: object) -> dict[int, int]:
    return {where.partition: share for where, share in dict(want).items()}  # type: ignore[call-overload]


def test_an_idle_worker_wants_a_fetchs_worth_of_everything() -> None:
    owned = [partition(n) for n in range(3)]

    assert numbers(wanted(owned, ROOMY)) == dict.fromkeys(range(3), FETCH_RECORDS)


def test_what_room_is_left_is_shared_evenly() -> None:
    limits = Limits(10_000, max_buffer_records=100, max_buffer_bytes=64 * 1024 * 1024)
    owned = [partition(0, open_records=40), partition(1), partition(2)]

    assert numbers(wanted(owned, limits)) == {0: 20, 1: 20, 2: 20}


def test_a_full_buffer_wants_nothing_of_who_holds_something() -> None:
    limits = Limits(10_000, max_buffer_records=50, max_buffer_bytes=64 * 1024 * 1024)

    assert wanted([partition(0, open_records=50)], limits) == {}
    assert numbers(wanted([partition(0, open_records=50), partition(1)], limits)) == {1: 1}


def test_an_eighth_of_the_buffer_is_worth_a_fetch() -> None:
    limits = Limits(10_000, max_buffer_records=80, max_buffer_bytes=64 * 1024 * 1024)

    assert records_short([partition(0, open_records=80)], limits) == 10
    assert records_short([partition(0, open_records=73)], limits) == 3
    assert records_short([partition(0, open_records=70)], limits) == 0
    assert records_short([], limits) == -70


def test_of_a_large_buffer_a_fetchs_worth_is_enough() -> None:
    assert records_short([partition(0, open_records=ROOMY.max_buffer_records)], ROOMY) == FETCH_RECORDS


def test_a_buffer_of_a_few_records_is_never_too_full_for_a_fetch() -> None:
    limits = Limits(10_000, max_buffer_records=1, max_buffer_bytes=64 * 1024 * 1024)

    assert records_short([partition(0, open_records=1)], limits) == 0


def test_a_partition_at_its_span_is_left_out_and_the_others_go_on() -> None:
    limits = Limits(max_uncommitted=20, max_buffer_records=10_000, max_buffer_bytes=64 * 1024 * 1024)
    owned = [partition(0, open_records=20, limits=limits), partition(1, open_records=5, limits=limits)]

    assert numbers(wanted(owned, limits)) == {1: 15}


def test_of_several_partitions_one_takes_half_of_the_room_at_most() -> None:
    limits = Limits(max_uncommitted=100, max_buffer_records=200, max_buffer_bytes=64 * 1024 * 1024)
    owned = [partition(0, open_records=100, limits=limits), partition(1, open_records=20, limits=limits)]

    assert numbers(wanted(owned, limits)) == {1: 30}, "of 80, of which 50 are for who holds nothing"
    assert numbers(wanted([partition(0, 20, limits=limits)], limits)) == {0: 80}


def test_a_held_partition_is_left_out() -> None:
    held = partition(0)
    held.holds.place("burial", Hold("dlq_unavailable"))

    assert numbers(wanted([held, partition(1)], ROOMY)) == {1: FETCH_RECORDS}


def test_bytes_are_reserved_for_what_a_fetch_may_bring() -> None:
    limits = Limits(10_000, 10_000, max_buffer_bytes=3 * PARTITION_FETCH_BYTES)
    owned = [partition(n) for n in range(5)]
    owned[0] = partition(0, open_records=1, size=PARTITION_FETCH_BYTES)

    assert numbers(wanted(owned, limits, turn=1)) == {
        1: FETCH_RECORDS,
        2: 1,
        3: 1,
        4: 1,
        0: FETCH_RECORDS,
    }, "and where they are short, of who holds nothing one record"


def test_who_holds_nothing_takes_a_record_however_small_the_buffer_is() -> None:
    limits = Limits(10_000, 10_000, max_buffer_bytes=1000)

    assert numbers(wanted([partition(0), partition(1)], limits)) == {0: FETCH_RECORDS, 1: 1}
    assert numbers(wanted([partition(0, open_records=1, size=10), partition(1)], limits)) == {1: 1}


def test_where_not_all_fit_all_get_their_turn_whatever_stands_still_in_them() -> None:
    limits = Limits(10_000, 10_000, max_buffer_bytes=3 * PARTITION_FETCH_BYTES)
    owned = [partition(n, open_records=1, size=10, limits=limits) for n in range(5)]
    served: list[int] = []
    turn = 0

    for _ in range(10):
        want = numbers(wanted(owned, limits, turn))
        turn = next_turn(turn, [each.topic_partition for each in owned], wanted(owned, limits, turn), ())
        served += want

    assert {served.count(n) for n in range(5)} == {4}


def test_where_fetches_end_early_all_get_their_turn_and_one_that_is_held_costs_nobody_his() -> None:
    owned = [partition(n) for n in range(5)]
    owned[1].holds.place("burial", Hold("dlq_unavailable"))
    served: list[int] = []
    turn = 0

    for _ in range(8):
        want = wanted(owned, ROOMY, turn)
        first = next(iter(want))  # had enough: the fetch looked at no other
        turn = next_turn(turn, [each.topic_partition for each in owned], want, [first])
        served.append(first.partition)

    assert served == [0, 2, 3, 4] * 2


@given(
    opened=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    records=st.integers(1, 200),
    span=st.integers(1, 80),
)
def test_no_fetch_can_pass_a_limit(opened: list[int], records: int, span: int) -> None:
    limits = Limits(span, records, 64 * 1024 * 1024)
    owned = [partition(n, min(count, span), limits=limits) for n, count in enumerate(opened)]

    want = wanted(owned, limits)

    taken, _ = buffered(owned)
    empty = sum(not each.ledger.unfinished for each in owned)
    assert taken + sum(want.values()) <= max(records, taken) + empty
    for each in owned:
        share = want.get(each.topic_partition, 0)
        assert each.ledger.position + share - each.ledger.committed <= span
        assert share or each.ledger.unfinished, "nothing keeps the room of a partition that holds nothing"
