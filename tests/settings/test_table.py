"""The table of settings: complete, and word for word what its page carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from convex_messaging_fastapi.settings import MessagingSettings, settings_table

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_every_setting_has_a_row_with_its_effect() -> None:
    header, rule, *rows = settings_table().splitlines()

    assert header.count("|") == rule.count("|") == 5
    assert [row.split("`")[1] for row in rows] == list(MessagingSettings.model_fields)
    assert not [row for row in rows if row.count("|") != 5 or row.endswith("| |") or "None" in row]


@pytest.mark.parametrize(
    "row",
    [
        "| `consumer_group` | `KAFKA_CONSUMER_GROUP` | `convex-group` | ",
        "| `create_topics` | `KAFKA_CREATE_TOPICS` | `false` | ",
        "| `publish_timeout_seconds` | `KAFKA_PUBLISH_TIMEOUT_SECONDS` | `10` | ",
        "| `sasl_password` | `KAFKA_SASL_PASSWORD` | - | ",
        "| `client_id` | `KAFKA_CLIENT_ID` | `consumer_group` | ",
        "| `oauth_token_provider` | in code only | - | ",
    ],
)
def test_a_row_tells_variable_and_default(row: str) -> None:
    assert row in settings_table()


def test_the_page_carries_this_table() -> None:
    _, _, rest = PAGE.read_text().partition("<!-- settings:begin -->")
    carried, ended, _ = rest.partition("<!-- settings:end -->")

    assert ended, "settings.md: the table stands between <!-- settings:begin --> and <!-- settings:end -->"
    assert carried.strip() == settings_table(), (
        "settings.md: put what settings_table() answers between the marks"
    )
