"""When a replay stops by itself."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.operations.replaying.outage import Outlook
from convex_messaging_fastapi.records import TopicPartition

ZERO, ONE = TopicPartition("billing.replay", 0), TopicPartition("billing.replay", 1)


def outlook(out: int, now: float = 0.0) -> Outlook:
    made = Outlook()
    made.went(((ZERO, offset) for offset in range(out)), now)
    return made


@pytest.mark.parametrize(
    ("settled", "failed", "stops"),
    [
        (19, 19, False),
        (20, 10, False),
        (20, 11, True),
        (100, 50, False),
        (100, 51, True),
        (0, 20, True),  # their letters are there, and the commit comes later
        (0, 19, False),
    ],
)
def test_it_stops_when_more_than_half_of_at_least_twenty_fail_again(
    settled: int, failed: int, stops: bool
) -> None:
    made = outlook(200)
    made.committed({ZERO: settled}, 1.0)
    made.failed_again(f"convex.dlq/0/{n}" for n in range(failed))
    made.failed_again(f"convex.dlq/0/{n}" for n in range(failed))  # told again: they are the same
    assert (made.reason_to_stop() is not None) is stops


@pytest.mark.parametrize(("seconds", "stops"), [(59.9, False), (60.0, True)])
def test_it_stops_when_nothing_is_settled_for_a_minute(seconds: float, stops: bool) -> None:
    made = outlook(5, now=100.0)
    made.committed({}, 100.0 + seconds)
    assert (made.reason_to_stop() is not None) is stops


def test_a_cluster_that_tells_nothing_has_not_told_that_nothing_is_settled() -> None:
    made = outlook(5)
    made.committed({ZERO: 1}, 1.0)
    # whoever replays is frozen here, or hears nobody, for ten minutes
    assert made.reason_to_stop() is None
    made.committed({ZERO: 2}, 600.0)
    assert made.reason_to_stop() is None


def test_each_that_is_settled_gives_another_minute_and_none_is_owed_where_nothing_is_out() -> None:
    made = outlook(5)
    made.committed({ZERO: 1}, 50.0)
    made.committed({ZERO: 1}, 109.0)
    assert made.reason_to_stop() is None
    made.committed({ZERO: 5}, 109.0)
    made.committed({ZERO: 5}, 1000.0)
    assert (made.out, made.settled, made.reason_to_stop()) == (0, 5, None)
    made.went([(ONE, 7)], 1000.0)
    made.committed({ZERO: 5}, 1059.0)
    assert made.reason_to_stop() is None


def test_what_is_committed_elsewhere_settles_nothing_here() -> None:
    made = outlook(5)
    made.committed({ONE: 99, TopicPartition("payments", 0): 7}, 1.0)
    assert (made.out, made.settled) == (5, 0)
