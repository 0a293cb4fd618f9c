"""Which letters are replayed, and why others are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from convex_messaging_fastapi.operations.replaying.choosing import (
    Choice,
    Chosen,
    NotReplayed,
    Terms,
    against,
)
from convex_messaging_fastapi.operations.values import Letter, LetterPlace, Origin

PLACE = LetterPlace("convex.dlq", 0, 7, 1)
LETTER = Letter(
    id="0/7",
    kind="convex",
    place=PLACE,
    group_id="0123456789",
    origin=Origin("convex.payments", 1, 5, datetime(2026, 1, 1, tzinfo=UTC)),
    group="billing",
    handler="settle",
    error="no",
    failed_at=datetime(2026, 1, 1, tzinfo=UTC),
    size=100,
)
OF_A_BATCH = Origin("convex.payments", 1, 5, None, 9)


@pytest.mark.parametrize(
    ("told", "terms", "why"),
    [
        ({}, Terms(), None),
        ({"replay_count": 2}, Terms(), None),
        ({"replay_count": 3}, Terms(), "too_many_replays"),
        ({"replay_count": 3}, Terms(max_replays=4), None),
        ({"kind": "unreadable"}, Terms(), "unreadable"),
        ({"kind": "unreadable"}, Terms("discard"), None),
        ({"names_cut": True}, Terms(), "names_cut"),
        ({"names_cut": True}, Terms(to_topic=True), "names_cut"),
        ({"origin": OF_A_BATCH}, Terms(), "payload_gone"),
        ({"group": "-", "handler": "-"}, Terms(), "no_handler"),
        ({"group": "-", "handler": "-"}, Terms(handler="settle"), "no_handler"),
        ({"group": "-", "handler": "-"}, Terms(handler="settle", into="billing"), None),
        ({"group": "-", "handler": "-"}, Terms(into="billing"), "no_handler"),
        ({"group": "-", "handler": "-"}, Terms(to_topic=True), None),
        ({"handler": "-"}, Terms(), "no_handler"),
        ({"handler": "-"}, Terms(handler="settle"), None),
    ],
)
def test_a_letter_says_itself_why_it_is_not_replayed(
    told: dict[str, Any], terms: Terms, why: NotReplayed | None
) -> None:
    assert against(replace(LETTER, **told), terms) == why


def test_groups_come_one_after_another_each_in_the_order_of_its_letters() -> None:
    letters = [Chosen(PLACE._replace(offset=n), "ba"[n % 2]) for n in range(4)]
    assert Choice(letters, {}).by_group() == {"a": letters[1::2], "b": letters[::2]}
