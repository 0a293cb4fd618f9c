"""Where reading goes on when the log does not have the offset that was to be read."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Loss
from convex_messaging_fastapi.transport.kafka.history import LOSSES_KEPT, History
from convex_messaging_fastapi.transport.kafka.positions import decide_anew, decide_move


@pytest.mark.parametrize("policy", ["earliest", "latest"])
def test_what_retention_left_is_read_under_any_policy(policy: str) -> None:
    found = decide_move(offset=2, first=5, end=10, policy=policy)
    assert (found.to, found.backwards) == (5, False)
    assert found.sentence == "3 records are gone before they were read: 2..4"


@pytest.mark.parametrize(("policy", "to"), [("earliest", 0), ("latest", 3)])
def test_a_log_that_was_cut_is_read_from_where_the_policy_says(policy: str, to: int) -> None:
    found = decide_move(offset=50, first=0, end=3, policy=policy)
    assert (found.to, found.backwards) == (to, True)
    assert "ends at 3, before offset 50" in found.sentence


def test_what_is_known_to_have_stood_in_a_log_that_was_cut_is_counted() -> None:
    """And under `latest` what the new one holds already, for nobody reads it."""
    assert decide_move(offset=50, first=0, end=3, policy="earliest", unread=7).lost == 7
    assert decide_move(offset=50, first=1, end=3, policy="latest", unread=7).lost == 9


@pytest.mark.parametrize(("policy", "to", "lost"), [("earliest", 0, 0), ("latest", 4, 4)])
def test_a_topic_that_was_made_anew_begins_where_the_policy_says(policy: str, to: int, lost: int) -> None:
    found = decide_anew(offset=9, to=to, policy=policy)
    assert (found.offset, found.to, found.lost) == (9, to, lost)


def test_the_latest_losses_are_kept_and_all_are_counted() -> None:
    history = History()
    for n in range(LOSSES_KEPT + 5):
        history.add(Loss(TopicPartition("orders", 0), n, n + 1, 2, "gone", 0.0))
    assert len(history.losses) == LOSSES_KEPT
    assert history.losses[-1].from_offset == LOSSES_KEPT + 4
    assert history.lost == 2 * (LOSSES_KEPT + 5)
