"""Where reading goes on when the log does not have the offset that was to be read."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.transport.kafka.positions import decide_move


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
