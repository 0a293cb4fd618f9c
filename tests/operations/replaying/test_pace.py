"""The rate of a replay, and how far it may be ahead."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.operations.replaying.pace import Pace, most_ahead, slice_size


@pytest.mark.parametrize(
    ("rate", "size"), [(0.1, 1), (1, 1), (19, 1), (50, 5), (500, 50), (2500, 250), (100_000, 250)]
)
def test_a_tenth_of_a_second_fits_a_slice(rate: float, size: int) -> None:
    assert slice_size(rate) == size


def test_slices_to_a_topic_of_live_readers_are_small() -> None:
    assert slice_size(100_000, to_topic=True) == 50


@pytest.mark.parametrize(("rate", "most"), [(0.1, 250), (12.5, 250), (50, 1000), (500, 10_000)])
def test_twenty_seconds_may_be_out_and_never_less_than_250(rate: float, most: int) -> None:
    assert most_ahead(rate) == most


@pytest.mark.parametrize("rate", [0.5, 10, 333, 5000])
def test_the_rate_is_kept_whatever_a_slice_takes(rate: float) -> None:
    pace, now, size = Pace(rate), 100.0, slice_size(rate)
    began: list[float] = []
    while len(began) < 40:
        now += pace.wait(now)
        began.append(now)
        pace.went(size, now)
        now += 0.3 * size / rate  # what the transaction takes
    assert 39 * size / (began[-1] - began[0]) == pytest.approx(rate, rel=0.001)


def test_after_a_standstill_no_more_than_a_second_is_caught_up_on() -> None:
    pace = Pace(100)
    pace.went(10, 0.0)
    sent, now = 0, 60.0
    while pace.wait(now) == 0:
        pace.went(10, now)
        sent += 10
    assert 90 <= sent <= 110
