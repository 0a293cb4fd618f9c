"""What stands before a batch that nobody can read is read without it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.kafka.consumer.fetch_limits import FetchLimits
from convex_messaging_fastapi.transport.kafka.engine import Span

HERE, THERE = TopicPartition("orders", 0), TopicPartition("orders", 1)


def test_just_as_many_are_taken_as_stand_before_it() -> None:
    shares = FetchLimits()
    assert shares.fewer(HERE, 10, Span(15, 20))
    assert (shares.of(HERE, 500), shares.of(HERE, 3), shares.of(THERE, 500)) == (5, 3, 500)
    shares.taken(HERE)
    assert shares.of(HERE, 500) == 500


@pytest.mark.parametrize("unreadable", [None, Span(None, 20), Span(10, 20), Span(8, 20)])
def test_where_none_is_known_to_stand_before_it_there_is_nothing_to_take(unreadable: Span | None) -> None:
    shares = FetchLimits()
    assert not shares.fewer(HERE, 10, unreadable)
    assert shares.of(HERE, 500) == 500


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.integers(1, 500))
def test_all_that_stand_before_it_are_read_wherever_offsets_are_missing(log: list[bool], limit: int) -> None:
    shares, position, read = FetchLimits(), 0, list[int]()
    unreadable = Span(len(log), len(log) + 1)
    while True:
        there = [offset for offset, is_there in enumerate(log) if is_there and offset >= position]
        share = shares.of(HERE, limit)
        if share > len(there):
            if not shares.fewer(HERE, position, unreadable):
                break
            continue
        read += there[:share]
        position = read[-1] + 1
        shares.taken(HERE)
    assert read == [offset for offset, is_there in enumerate(log) if is_there]
