"""What is done about letters: told first, done with `--yes`, followed, and stopped."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from convex_messaging_fastapi.cli.session import Session
from convex_messaging_fastapi.errors import LetterNotFound, ReplayFenced, ReplayRefused
from convex_messaging_fastapi.operations import Filter, Job
from tests.cli.calls import Cli

AT = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
PLANNED = Job(
    id="0192abcd",
    kind="replay",
    status="planned",
    by="ada",
    host="here",
    started_at=AT,
    at=AT,
    groups=("payments",),
    topics=("convex.payments.replay",),
    selected=12,
    refused={"replayed 3 times": 2},
    notes=("no member of \x1b[31mpayments runs",),
)


class FakeOperations:
    """One job that is over after a turn of the loop, and what it was begun with."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.ended = replace(PLANNED, status="done", done=12, refused={}, notes=())
        self.error: Exception | None = None
        self.stopped = 0

    async def replay(self, wanted: Any, **how: Any) -> Job:
        if self.error is not None:
            raise self.error
        self.asked.append((wanted, how))
        return PLANNED if how["dry_run"] or not PLANNED.selected else replace(PLANNED, status="running")

    async def dead_letter(self, id: str) -> None:
        if id == "9/9":
            raise LetterNotFound(f"there is no dead letter {id}")

    async def discard(self, wanted: Any, **how: Any) -> Job:
        return replace(await self.replay(wanted, **how), kind="discard")

    async def reopen(self, ids: Any, **how: Any) -> Job:
        return replace(await self.replay(ids, **how, dry_run=False), kind="reopen")

    def job(self, id: str) -> Job | None:
        return replace(PLANNED, status="running", done=5)

    async def wait_for(self, id: str) -> Job:
        await asyncio.sleep(0)
        return self.ended

    async def jobs(self) -> tuple[Job, ...]:
        return (self.ended, replace(PLANNED, status="stopped", error="they fail again\x1b[0m"))

    async def stop_job(self, id: str, *, by: str) -> Job:
        if id != PLANNED.id:
            raise LookupError(f"there is no job {id}")
        return replace(self.ended, status="stopped", error=f"stopped by {by}")

    async def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> FakeOperations:
    fake = FakeOperations()

    @asynccontextmanager
    async def operations(session: Session, *, of_app: bool = False) -> AsyncIterator[FakeOperations]:
        try:
            yield fake
        finally:
            await fake.stop()

    monkeypatch.setattr(Session, "operations", operations)
    return fake


DRY_RUN = """\
planned    12 letters would be replayed
group      payments
to         convex.payments.replay
left       2: replayed 3 times
note       no member of \\x1b[31mpayments runs
convex-messaging dead-letters replay --topic payments --rate 10 --expect 12 --yes
"""


def test_a_dry_run_ends_with_the_command_that_does_it(cli: Cli, ops: FakeOperations) -> None:
    ran = cli("dlq", "replay", "--topic", "payments", "--rate", "10")
    assert ran == (0, DRY_RUN, "")
    ((wanted, how),) = ops.asked
    assert wanted == Filter(topic="payments")
    assert (how["dry_run"], how["rate"], how["to"]) == (True, 10.0, "handler")


@pytest.mark.parametrize(
    "words",
    [
        ("2/517", "2/518"),
        ("--type", "Card Declined", "--state", "failed-again", "--min-replays", "1"),
        ("--since", "2026-11-01T08:30:00+00:00", "--limit", "5"),
        ("--to-topic", "--allow-topic", "other", "--anyway"),
        (
            "--handler",
            "a",
            "--to-handler",
            "charge",
            "--into",
            "payments",
            "--max-replays",
            "7",
            "--without-transaction",
        ),
        ("--app-dir", "src", "--bootstrap-servers", "kafka:9092"),
    ],
    ids=" ".join,
)
def test_that_command_means_the_same(cli: Cli, ops: FakeOperations, words: tuple[str, ...]) -> None:
    last = cli("dlq", "replay", *words).lines[-1]
    ops.ended = replace(ops.ended, selected=12)
    name, *again = shlex.split(last)
    assert name == "convex-messaging"
    assert cli(*again).code == 0
    (dry, how_dry), (done, how_done) = ops.asked
    assert dry == done
    assert how_done == how_dry | {"dry_run": False, "expected": 12}


def test_what_was_done_is_told_when_it_is_over(cli: Cli, ops: FakeOperations) -> None:
    ran = cli("dlq", "replay", "--yes", "--by", "ada")
    assert ran.code == 0
    assert ran.lines[0] == "done       12 of 12 letters replayed"
    assert ops.asked[0][1]["by"] == "ada"
    assert ops.stopped == 1


def test_fewer_than_were_shown_is_told(cli: Cli, ops: FakeOperations) -> None:
    assert cli("dlq", "replay", "--expect", "13", "--yes").err == "13 were shown, and 12 match by now\n"
    assert cli("dlq", "replay", "--expect", "12", "--yes").err == ""


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ({"status": "stopped", "error": "they fail again"}, 1),
        ({"refused": {"gone": 1}}, 1),
        ({"failed_again": 3}, 1),
        ({"status": "failed", "error": "no answer"}, 3),
    ],
)
def test_what_did_not_go_well_has_another_code(
    cli: Cli, ops: FakeOperations, ended: dict[str, Any], code: int
) -> None:
    ops.ended = replace(ops.ended, **ended)
    assert cli("dlq", "replay", "--yes").code == code


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ReplayRefused("no_live_member", "nobody of payments runs"), 4, " (here: --anyway)"),
        (ReplayRefused("not_subscribed", "its release is too old"), 4, " (here: --to-topic)"),
        (ReplayRefused("more_than_shown", "13 match by now"), 4, ""),
        (ReplayFenced("another operator has taken it over"), 3, ""),
    ],
)
def test_what_was_not_begun_is_said_in_one_line(
    cli: Cli, ops: FakeOperations, error: Exception, code: int, told: str
) -> None:
    ops.error = error
    assert cli("dlq", "replay", "--yes") == (code, "", f"error: {error}{told}\n")


def test_where_nothing_is_meant_it_says_which_letters_are(
    cli: Cli, ops: FakeOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = replace(PLANNED, selected=0, refused={}, notes=(), groups=(), topics=())
    monkeypatch.setattr("tests.cli.commands.test_acting.PLANNED", none)
    for yes in ([], ["--yes"]):
        assert cli("dlq", "replay", "2/517", *yes) == (
            0,
            "planned    0 letters would be replayed\n",
            "only open letters are meant, unless --state says otherwise\n",
        )
        not_found = (5, "", "error: there is no dead letter 9/9\n")
        assert cli("dlq", "replay", "9/9", *yes) == not_found
        assert cli("dlq", "discard", "2/517", "9/9", "--reason", "x", *yes) == not_found
    assert cli("dlq", "reopen", "9/9") == (5, "", "error: there is none of 9/9: see dead-letters list\n")


def test_ctrl_c_says_what_was_done_and_how_to_go_on(
    cli: Cli, ops: FakeOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(id: str) -> Job:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    monkeypatch.setattr(ops, "wait_for", interrupted)
    ran = cli("dlq", "replay", "--yes")
    assert ran.code == 130
    assert ran.err == "interrupted: 5 of 12 replayed; run the same command to go on\n"


def test_letters_are_discarded_for_a_reason(cli: Cli, ops: FakeOperations) -> None:
    assert cli("dlq", "discard").code == 2
    ran = cli("dlq", "discard", "2/517", "--reason", "test data")
    assert ran.lines[-1] == (
        "convex-messaging dead-letters discard 2/517 --reason 'test data' --expect 12 --yes"
    )
    assert cli("dlq", "discard", "2/517", "--reason", "test data", "--yes").code == 0


def test_letters_are_opened_again(cli: Cli, ops: FakeOperations) -> None:
    assert cli("dlq", "reopen", "2/517").code == 0
    assert ops.asked[0][0] == ("2/517",)


def test_jobs_are_listed_and_stopped(cli: Cli, ops: FakeOperations) -> None:
    heading, done, stopped = cli("dlq", "jobs").lines
    assert heading.split() == ["JOB", "KIND", "STATUS", "DONE", "BY", "STARTED", "ERROR"]
    assert done.split()[:4] == ["0192abcd", "replay", "done", "12"]
    assert stopped.endswith("they fail again\\x1b[0m")
    assert cli("dlq", "jobs", "--json").json[0]["status"] == "done"
    assert cli("dlq", "stop", "0192abcd", "--by", "ada").lines[-1] == "error      stopped by ada"
    assert cli("dlq", "stop", "unknown") == (5, "", "error: there is no job unknown\n")
