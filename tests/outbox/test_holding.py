"""A topic that cannot be written to is held, and tried again after longer and longer waits."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.outbox.holding import Holding, wait_after


@pytest.fixture
def holding() -> Holding:
    return Holding(lambda: 0.0)


def test_the_wait_doubles_and_ends_at_a_minute() -> None:
    assert [wait_after(tries, lambda: 0.0) for tries in (1, 2, 3, 6, 7, 500)] == [1, 2, 4, 32, 60, 60]


def test_the_wait_is_not_the_same_everywhere() -> None:
    assert wait_after(3, lambda: 1.0) == pytest.approx(3.2)


def test_a_topic_is_news_once(holding: Holding) -> None:
    assert holding.hold("t", "no such topic", 0.0)
    assert not holding.hold("t", "another", 5.0)
    assert holding.topics == {"t": "no such topic"}


def test_a_topic_is_tried_when_its_time_comes_and_once_at_a_time(holding: Holding) -> None:
    holding.hold("t", "no", 0.0)
    assert holding.due(0.9) == []
    assert holding.due(1.0) == ["t"]
    assert holding.due(1.0) == []
    holding.failed("t", "still not", 1.0)
    assert holding.topics == {"t": "still not"}
    assert holding.next_try() == 3.0


def test_what_could_not_be_tried_is_tried_soon(holding: Holding) -> None:
    holding.hold("t", "no", 0.0)
    holding.due(1.0)
    holding.not_tried("t", 1.0)
    assert holding.next_try() == 2.0


def test_a_topic_that_another_relay_held_is_tried_at_once(holding: Holding) -> None:
    holding.take_over("t", 3, 10.0)
    assert holding.due(10.0) == ["t"]
    assert holding.lanes("t") == {3}


def test_rows_in_a_lane_that_is_lost_are_no_longer_ours(holding: Holding) -> None:
    holding.hold("t", "no", 0.0)
    holding.set_aside("t", [3, 4])
    holding.lose([3])
    assert holding.lanes("t") == {4}
    assert "t" in holding


def test_an_open_topic_is_forgotten(holding: Holding) -> None:
    holding.hold("t", "no", 0.0)
    holding.open("t")
    assert "t" not in holding
    assert holding.next_try() is None
