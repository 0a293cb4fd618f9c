"""A broker that is away: each command that needs one says so in one line, soon, and ends with 3."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calls import Cli

NOWHERE = ("--bootstrap-servers", "127.0.0.1:1")

ASKING = [
    "topics list",
    "topics show orders",
    "topics create orders --yes",
    "publish orders 1",
    "tail orders --exit-at-end",
    "dlq list",
    "dlq show 0/0",
    "dlq export",
    "dlq replay",
    "dlq replay --yes",
    "dlq discard --reason none",
    "dlq reopen 0/0",
    "dlq jobs",
    "dlq stop 1",
    "dlq validate --app main:bus",
]


@pytest.mark.parametrize("words", ASKING)
def test_a_broker_that_is_away_is_3(shop: Path, cli: Cli, words: str) -> None:
    ran = cli(*words.split(), *NOWHERE)
    assert (ran.code, ran.out) == (3, ""), ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert "127.0.0.1:1: connection refused" in ran.err
