"""Every name that we have of the semantic conventions is in the published list, not deprecated there."""

from __future__ import annotations

from pathlib import Path

import pytest

from convex_messaging_fastapi.observability import conventions

PUBLISHED = Path(__file__).parent / "semconv" / "names-1.45.0.txt"

METRICS = {"OPERATION_DURATION", "SENT_MESSAGES", "CONSUMED_MESSAGES", "PROCESS_DURATION"}
NO_NAMES = {
    *("SCHEMA_URL", "SCOPE", "KAFKA", "SECONDS", "MESSAGES"),
    *("SEND", "PROCESS", "POLL", "RECEIVE", "COMMIT", "SETTLE"),
}
"""What is a value, and not the name of an attribute or a metric."""

OURS = {"SUBSCRIPTION", "ATTEMPT", "OUTCOME", "REPLAY_COUNT"}

NAMES = {name: value for name, value in vars(conventions).items() if name.isupper() and name not in NO_NAMES}


def test_the_version_is_that_of_the_list() -> None:
    version = conventions.SCHEMA_URL.rpartition("/")[2]
    assert PUBLISHED.name == f"names-{version}.txt"


@pytest.mark.parametrize("name", sorted(NAMES.keys() - OURS))
def test_each_name_is_published_and_not_deprecated(name: str) -> None:
    kind = "metric" if name in METRICS else "attribute"
    assert f"{kind} {NAMES[name]}" in PUBLISHED.read_text().splitlines()


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_the_conventions_have_no_name_for_is_called_ours(name: str) -> None:
    assert NAMES[name].startswith("convex.messaging.")
