"""A replay is refused where nobody would read its copies, and says whether that mends itself."""

from __future__ import annotations

import pytest

from convex_messaging_fastapi.operations.replaying.planning import why_unread
from convex_messaging_fastapi.transport.base import GroupDescription, GroupMember


def member(*topics: str) -> GroupMember:
    return GroupMember("bets", "10.0.0.7", frozenset(topics))


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        (GroupDescription("Stable", (member("bets"), member("bets", "replay"))), None),
        (GroupDescription("PreparingRebalance", (member("replay"), member())), None),
        (GroupDescription("Stable", (member("bets"),)), "not_subscribed"),
        (GroupDescription("PreparingRebalance", (member(),)), "rebalancing"),
        (GroupDescription("CompletingRebalance", (member(),)), "rebalancing"),
        (GroupDescription("Empty"), "no_live_member"),
    ],
)
def test_what_is_not_known_yet_is_told_from_what_will_not_be(
    described: GroupDescription, reason: str | None
) -> None:
    refusal = why_unread("payments", "replay", described)
    assert (refusal and refusal.reason) == reason
