"""How large letters may be is learnt from what their topic refuses, and forgotten a minute later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.consuming.letter_sizes import (
    ORDINARY_LETTER_BYTES,
    REMEMBERED_SECONDS,
    SMALLEST_LETTER_BYTES,
    LetterSizes,
)

MIB = 1024 * 1024
LARGEST = 20 * MIB + 64 * 1024


def test_at_first_a_letter_may_be_as_large_as_there_are_any() -> None:
    assert next(iter(LetterSizes(LARGEST, ManualClock()))) == LARGEST


@given(st.integers(1000, 2**31), st.integers(1, 2**31))
def test_sizes_go_down_to_the_smallest_and_none_is_what_was_refused(largest: int, refused: int) -> None:
    sizes = LetterSizes(largest, ManualClock())
    sizes.refuse(refused)
    tried = list(sizes)
    assert tried == sorted(set(tried), reverse=True)
    assert tried[-1] == SMALLEST_LETTER_BYTES
    assert all(size < refused for size in tried[:-1])


@pytest.mark.parametrize("limit", [300, 5_000, 70_000, ORDINARY_LETTER_BYTES + 1024, 5_000_000, LARGEST])
def test_what_a_topic_takes_is_found_within_half_of_it(limit: int) -> None:
    """Asked with letters that are just as large as they may be."""
    sizes, asked = LetterSizes(LARGEST, ManualClock()), 0
    for size in sizes:
        asked += 1
        if size <= limit:
            break
        sizes.refuse(size)
    assert size <= limit or size == SMALLEST_LETTER_BYTES
    assert 2 * size >= limit or size in (SMALLEST_LETTER_BYTES, ORDINARY_LETTER_BYTES)
    assert asked <= 20
    assert next(iter(sizes)) == size


def test_a_letter_that_was_refused_is_not_tried_again_at_a_limit_that_lets_it_be_as_large() -> None:
    sizes = LetterSizes(LARGEST, ManualClock())
    tried = []
    for size in sizes:
        tried.append(size)
        sizes.refuse(min(size, 900_000))
    assert [size for size in tried[1:] if size >= 900_000] == []


def test_a_topic_made_with_defaults_is_tried_at_what_it_takes() -> None:
    sizes = LetterSizes(LARGEST, ManualClock())
    sizes.refuse(1_300_000)
    assert next(iter(sizes)) == ORDINARY_LETTER_BYTES


def test_a_minute_later_everything_is_tried_again() -> None:
    clock = ManualClock()
    sizes = LetterSizes(LARGEST, clock)
    sizes.refuse(5_000)
    clock.advance(REMEMBERED_SECONDS - 1)
    assert next(iter(sizes)) < 5_000
    clock.advance(1)
    assert next(iter(sizes)) == LARGEST
