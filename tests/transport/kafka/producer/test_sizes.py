"""What is remembered of a topic's refusals: the smallest, for a minute, and of that topic alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.records import OutgoingRecord
from convex_messaging_fastapi.transport.kafka.engine import TopicId, pack, size_in_batch
from convex_messaging_fastapi.transport.kafka.producer.sizes import (
    REMEMBERED_SECONDS,
    WORTH_REMEMBERING,
    Sizes,
)

ID, LATER, MIRRORED = TopicId("c", b"1"), TopicId("c", b"2"), TopicId("d", b"2")


def test_nothing_is_known_of_a_topic_that_refused_nothing() -> None:
    sizes = Sizes()
    sizes.refuse_record("other", ID, 10, now=0)
    assert sizes.refused("t", ID, now=0) is None
    assert sizes.batch("t", ID, now=0, usual=1000) == 1000


def test_the_smallest_refusal_counts_whatever_order_they_come_in() -> None:
    sizes = Sizes()
    for size in (500_000, 300_000, 400_000):
        sizes.refuse_record("t", ID, size, now=0)
    assert sizes.refused("t", ID, now=0) == 300_000


def test_small_records_are_sent_again_for_that_costs_next_to_nothing() -> None:
    sizes = Sizes()
    sizes.refuse_record("t", ID, WORTH_REMEMBERING - 1, now=0)
    assert sizes.refused("t", ID, now=0) is None
    sizes.refuse_record("t", ID, WORTH_REMEMBERING, now=0)
    assert sizes.refused("t", ID, now=0) == WORTH_REMEMBERING


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_batch_that_was_refused_is_halved_and_at_most_as_large_as_usual(size: int) -> None:
    sizes = Sizes()
    sizes.refuse_batch("t", ID, size, now=0)
    assert sizes.batch("t", ID, now=0, usual=2000) == min(2000, size // 2)
    assert sizes.refused("t", ID, now=0) is None


def test_a_batch_has_room_for_one_byte_at_least() -> None:
    sizes = Sizes()
    sizes.refuse_batch("t", ID, 1, now=0)
    assert sizes.batch("t", ID, now=0, usual=2000) == 1


@pytest.mark.parametrize(
    ("seconds", "id", "remembered"),
    [
        (REMEMBERED_SECONDS - 1, ID, True),
        (REMEMBERED_SECONDS, ID, False),
        (0, LATER, False),
        (0, MIRRORED, True),
        (0, None, True),
    ],
)
def test_some_time_later_or_of_a_later_topic_nothing_is_believed(
    seconds: float, id: TopicId | None, remembered: bool
) -> None:
    sizes = Sizes()
    sizes.refuse_record("t", ID, 300_000, now=0)
    sizes.refuse_batch("t", ID, 300, now=0)
    assert (sizes.refused("t", id, seconds) is not None) is remembered
    assert (sizes.batch("t", id, seconds, usual=1000) < 1000) is remembered


@given(
    key=st.none() | st.binary(max_size=300),
    value=st.none() | st.binary(max_size=20_000),
    headers=st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=9)), max_size=4),
)
def test_the_size_of_a_record_is_that_of_a_batch_of_it_alone(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    record = OutgoingRecord(key, value, tuple(headers))
    packed = pack([record], 1_767_225_600_000, limit=1)
    assert packed.size == size_in_batch(record) == len(packed.batch._build())
