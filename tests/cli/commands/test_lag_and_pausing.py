"""How far groups are behind, and pauses: told first, and said to the fleet with `--yes`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convex_messaging_fastapi.cli.session import Session
from convex_messaging_fastapi.messages.pauses import Whom
from convex_messaging_fastapi.operations import PartitionLag
from tests.cli.calls import Cli

BEHIND = PartitionLag(
    group="convex",
    topic="convex.orders",
    partition=0,
    committed=5,
    end=1205,
    lag=1200,
    time_lag_seconds=90.4,
)
NEW = PartitionLag(group="convex", topic="convex.new", partition=1, committed=None, end=3, lag=None)


class FakeOperations:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.said: list[tuple[str, str, dict[str, Any]]] = []

    async def lag(self, group: str) -> tuple[PartitionLag, ...]:
        self.asked.append(group)
        return () if group == "absent" else (replace(BEHIND, group=group), replace(NEW, group=group))

    def whom(self, handler: str, *, group: str | None) -> Whom:
        return Whom(group or "convex-group", handler)

    async def pause(self, handler: str, **how: Any) -> None:
        self.said.append(("pause", handler, how))

    async def resume(self, handler: str, **how: Any) -> None:
        self.said.append(("resume", handler, how))


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> FakeOperations:
    fake = FakeOperations()

    @asynccontextmanager
    async def operations(session: Session, *, of_app: bool = False) -> AsyncIterator[FakeOperations]:
        yield fake

    monkeypatch.setattr(Session, "operations", operations)
    return fake


def test_lag_is_a_table(cli: Cli, ops: FakeOperations) -> None:
    ran = cli("lag", "convex")
    assert ran.code == 0, ran.err
    assert [line.split() for line in ran.lines] == [
        ["GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND"],
        ["convex", "convex.orders", "0", "5", "1205", "1200", "90", "s"],
        ["convex", "convex.new", "1", "-", "3", "-", "-"],
    ]


def test_the_groups_of_the_app_are_meant_where_none_is_named(
    cli: Cli, shop: Path, ops: FakeOperations
) -> None:
    assert cli("lag", "--app", "main:app").code == 0
    assert "counting" in ops.asked
    assert len(ops.asked) == len(set(ops.asked)) == 3


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (["--fail-over", "1199"], 1),
        (["--fail-over", "1200"], 0),
        (["--fail-over-seconds", "90"], 1),
        (["--fail-over-seconds", "91"], 0),
        (["--fail-over", "0", "--topic", "new"], 0),
    ],
)
def test_a_job_of_cron_learns_of_it_by_the_code(
    cli: Cli, ops: FakeOperations, limits: list[str], code: int
) -> None:
    assert cli("lag", "convex", *limits).code == code


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["absent"], "nothing is known of group absent: it has committed nothing and has no member"),
        (["convex", "absent", "--fail-over", "2000"], "nothing is known of group absent: "),
        (["convex", "--topic", "other"], "nothing is known of group convex on topic convex.other: "),
    ],
)
def test_a_group_that_is_misspelt_is_not_taken_for_one_that_is_not_behind(
    cli: Cli, ops: FakeOperations, words: list[str], sentence: str
) -> None:
    ran = cli("lag", *words)
    assert ran.code == 5
    assert sentence in ran.err


def test_a_group_that_is_behind_is_told_before_one_that_is_not_known(cli: Cli, ops: FakeOperations) -> None:
    assert cli("lag", "convex", "absent", "--fail-over", "1").code == 1


def test_lag_as_json_has_the_names_of_its_values(cli: Cli, ops: FakeOperations) -> None:
    first, second = cli("lag", "convex", "--json").json
    assert (first["lag"], first["time_lag_seconds"], first["backlog"]) == (1200, 90.4, None)
    assert second["committed"] is None


@pytest.mark.parametrize(("verb", "result"), [("pause", "paused"), ("resume", "resumed")])
def test_nothing_is_said_without_yes(cli: Cli, ops: FakeOperations, verb: str, result: str) -> None:
    ran = cli(verb, "take-payment", "--group", "convex", "--by", "ada", "--reason", "why")
    assert ran.code == 0, ran.err
    assert ran.lines == [f"take-payment of group convex would be {result}: --yes does it"]
    assert ran.err == "whether that group has this handler was not looked at: name the app with --app\n"
    assert ops.said == []

    ran = cli(verb, "take-payment", "--group", "convex", "--by", "ada", "--reason", "why", "--yes", "--json")
    assert ran.json == {"handler": "take-payment", "group": "convex", "result": result, "done": True}
    assert ops.said == [(verb, "take-payment", {"group": "convex", "by": "ada", "reason": "why"})]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_handler_that_the_app_does_not_have_is_refused_without_yes_too(
    cli: Cli, shop: Path, verb: str
) -> None:
    where = ("--app", "main:app", "--bootstrap-servers", "127.0.0.1:1")
    ran = cli(verb, "take-paiment", *where)
    assert ran.code == 2
    assert "no handler is 'take-paiment': there are 'count', 'print-invoice', 'take-payment'" in ran.err
    ran = cli(verb, "count", *where)
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines[0].startswith("count of group counting would be ")
