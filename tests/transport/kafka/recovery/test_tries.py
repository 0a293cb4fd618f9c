"""A batch is given up after enough failures over enough time, and only while it is in the way."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Unreadable
from convex_messaging_fastapi.transport.kafka.recovery.tries import Tries
from convex_messaging_fastapi.transport.kafka.tuning import Tuning

HERE, THERE = TopicPartition("orders", 0), TopicPartition("orders", 1)
THIS, NEXT = Unreadable(7, 9, "ValueError", "broken"), Unreadable(9, 12, "ValueError", "broken")
LONGER = Unreadable(7, 10, "ValueError", "broken")
READ = None


def after(steps: list[tuple[float, Unreadable | None]]) -> Tries:
    """Each step at a time on the clock: a failure of that batch, or a good read."""
    tries = Tries(3, 60.0)
    for now, batch in steps:
        if batch is None:
            tries.succeeded(HERE)
        else:
            tries.failed(HERE, batch, now)
    return tries


def test_it_is_three_in_a_minute_unless_a_test_says_otherwise() -> None:
    assert (Tuning().unreadable_tries, Tuning().unreadable_seconds) == (3, 60.0)


@pytest.mark.parametrize(
    ("steps", "given_up_after"),
    [
        ([], None),
        ([(0, THIS)], None),
        ([(0, THIS), (100, THIS)], None),
        ([(0, THIS), (30, THIS), (60, THIS)], 3),
        ([(5, THIS), (35, THIS), (64.9, THIS)], None),
        ([(0, THIS), (59, THIS), (59.9, THIS), (61, THIS)], 4),
        ([(0, THIS), (30, READ), (60, THIS), (70, THIS)], None),
        ([(0, THIS), (30, READ), (60, THIS), (70, THIS), (120, THIS)], 3),
        ([(0, NEXT), (30, NEXT), (60, THIS)], None),
        ([(0, THIS), (30, LONGER), (60, THIS)], None),
        ([(0, THIS), (30, THIS), (60, THIS), (61, READ)], None),
        ([(0, THIS), (30, THIS), (60, THIS), (65, NEXT)], None),
        ([(0, THIS), (30, THIS._replace(why="broken otherwise")), (60, THIS)], 3),
    ],
)
def test_which_failures_give_a_batch_up(
    steps: list[tuple[float, Unreadable | None]], given_up_after: int | None
) -> None:
    expected = {} if given_up_after is None else {HERE: THIS._replace(tries=given_up_after)}
    assert after(steps).given_up() == expected


OVER: list[tuple[float, Unreadable | None]] = [(0, THIS), (30, THIS), (60, THIS)]


def test_a_partition_counts_for_itself() -> None:
    tries = after(OVER[:2])
    tries.failed(THERE, THIS, 60)
    assert tries.given_up() == {}
    tries.failed(HERE, THIS, 60)
    assert [*tries.given_up()] == [HERE]


def test_what_is_passed_over_is_told_of_no_more_until_that_is_done() -> None:
    tries = after(OVER)
    tries.pass_over(HERE, THIS)
    assert (tries.given_up(), tries.passed()) == ({}, {HERE: THIS})
    tries.succeeded(HERE)
    assert (tries.given_up(), tries.passed()) == ({}, {})


@pytest.mark.parametrize("steps", [[], [*OVER, (61, READ)], [*OVER, (61, NEXT)]])
def test_only_what_is_in_the_way_is_passed_over(steps: list[tuple[float, Unreadable | None]]) -> None:
    """It may have been read after all while its letter was written."""
    tries = after(steps)
    tries.pass_over(HERE, THIS)
    assert tries.passed() == {}


def test_all_is_forgotten_with_the_assignment() -> None:
    tries = after(OVER)
    tries.pass_over(HERE, THIS)
    tries.forget()
    assert (tries.given_up(), tries.passed()) == ({}, {})
