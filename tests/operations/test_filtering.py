"""A filter refuses what it cannot mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from convex_messaging_fastapi import ConfigurationError
from convex_messaging_fastapi.operations import Filter

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "given",
    [
        {"ids": ("2/517", "orders-dlt/0/1")},
        {"group_id": "0123456789"},
        {"since": JANUARY, "until": JANUARY.replace(day=2)},
        {"state": "expires_soon"},
        {"state": "all", "min_replays": 3, "text": "card"},
    ],
    ids=str,
)
def test_what_can_be_meant_is_taken(given: dict[str, Any]) -> None:
    assert Filter(**given).group_id == given.get("group_id")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ids": "2/517"}, r"Filter.ids takes a tuple of letters' ids, such as \('2/517',\), not '2/517'"),
        ({"ids": ("517",)}, "Filter.ids takes"),
        ({"ids": ("/0/1",)}, "Filter.ids takes"),
        ({"ids": ("a/b/0/1",)}, "Filter.ids takes"),
        ({"group_id": "0123"}, "Filter.group_id takes ten hexadecimal digits"),
        ({"topic": ""}, "Filter.topic takes a text that is not empty"),
        ({"text": 7}, "Filter.text takes a text"),
        ({"since": datetime(2026, 1, 1)}, "Filter.since takes a datetime with a time zone"),  # noqa: DTZ001
        ({"until": "2026-01-01"}, "Filter.until takes a datetime"),
        ({"since": JANUARY, "until": JANUARY}, "Filter.until must be later than since"),
        ({"state": "closed"}, "Filter.state takes one of open, waiting, "),
        ({"state": None}, "Filter.state takes"),
        ({"min_replays": -1}, "Filter.min_replays takes"),
        ({"min_replays": True}, "Filter.min_replays takes"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_with_what_can(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Filter(**given)
