"""`settings`: what counts and where it comes from, without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calls import Cli


@pytest.fixture
def secured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "ada")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    (folder / ".env").write_text("KAFKA_CONSUMER_GROUP=billing\n")


@pytest.mark.usefixtures("secured")
@pytest.mark.parametrize("words", [(), ("--json",), ("--sources",), ("--json", "--sources")], ids=" ".join)
def test_no_secret_is_shown(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli("settings", *words)
    assert ran.code == 0
    assert "hunter2" not in ran.out + ran.err
    assert "(set, not shown)" in ran.out


@pytest.mark.usefixtures("secured")
def test_sources_are_told(cli: Cli) -> None:
    told = cli("settings", "--json", "--sources").json
    assert told["consumer_group"] == {"value": "billing", "source": "set by KAFKA_CONSUMER_GROUP in .env"}
    assert told["sasl_username"] == {"value": "ada", "source": "set by KAFKA_SASL_USERNAME"}
    assert told["concurrency"] == {"value": 32, "source": "the default"}


def test_what_is_given_here_is_told_as_that(cli: Cli) -> None:
    ran = cli("settings", "--json", "--sources", "--bootstrap-servers", "kafka:9093")
    assert ran.json["bootstrap_servers"] == {
        "value": "kafka:9093",
        "source": "given in code, or on the command line",
    }


def test_a_table_has_a_line_a_setting(cli: Cli) -> None:
    ran = cli("settings")
    assert ran.lines[:3] == [
        "SETTING                      VALUE",
        "bootstrap_servers            localhost:9092",
        "security_protocol            PLAINTEXT",
    ]


def test_all_that_is_wrong_is_told_a_line_each(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_CONCURRENCY", "many")
    monkeypatch.setenv("KAFKA_DRAIN_TIMEOUT_SECONDS", "0x")
    ran = cli("settings")
    assert (ran.code, ran.out) == (2, "")
    first, *others = ran.err.splitlines()
    assert first == "error: 2 settings are wrong:"
    assert len(others) == 2


def test_what_may_be_mistyped_is_a_warning_beside_the_data(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_CONSUMER_GRUOP", "billing")
    ran = cli("settings", "--json")
    assert ran.json["consumer_group"] == "convex-group"
    assert ran.err.startswith("warning: the variable KAFKA_CONSUMER_GRUOP is no setting")
