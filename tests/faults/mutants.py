"""Three ways to make the engine wrong, each where it decides; tests that do not notice prove nothing.

As a pytest plugin (`-p tests.faults.mutants`) it applies the one that `MUTANT` names to the whole
run. The app of these tests does so too, for controls on a real Kafka.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

import pytest

from convex_messaging_fastapi.consuming import commits
from convex_messaging_fastapi.consuming.assignment import Assignment, Job
from convex_messaging_fastapi.consuming.dispatch import Dispatch, Outcome
from convex_messaging_fastapi.consuming.ledger import Ledger
from convex_messaging_fastapi.errors import PublishError, TransportError
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.transport.base import Position

VARIABLE = "MUTANT"

_burials: set[asyncio.Task[None]] = set()


def commit_the_highest_finished_offset(patch: pytest.MonkeyPatch) -> None:
    """What a client does that acknowledges each message and keeps only the highest."""

    def highest(ledger: Ledger, now_ms: int) -> Position:
        finished = max(ledger._finished, default=-1) + 1
        return Position(max(ledger.committable, finished))

    patch.setattr(commits, "position_of", highest)


def commit_positions_on_a_timer(patch: pytest.MonkeyPatch) -> None:
    """What Kafka's clients call auto-commit: whatever was handed out counts as done."""

    def positions(assignment: Assignment, now_ms: int) -> dict[TopicPartition, Position]:
        return {
            where: Position(owned.ledger.position)
            for where, owned in assignment.partitions.items()
            if owned.ledger.has_news or owned.ledger.position > owned.ledger.committed
        }

    patch.setattr(commits, "committable", positions)


def do_not_await_a_burial(patch: pytest.MonkeyPatch) -> None:
    """The letter is written in the background, and the message counts as finished at once."""

    async def in_the_background(dispatch: Dispatch, job: Job) -> None:
        assert job.failure is not None
        try:
            await dispatch._dead_letters.bury(job.record, job.failure)
        except (PublishError, TransportError):
            return  # nobody looks

    async def bury(dispatch: Dispatch, job: Job) -> Outcome:
        task = asyncio.create_task(in_the_background(dispatch, job))
        _burials.add(task)
        task.add_done_callback(_burials.discard)
        return Outcome(finished=(job,))

    patch.setattr(Dispatch, "_bury", bury)


MUTANTS: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    mutant.__name__: mutant
    for mutant in (commit_the_highest_finished_offset, commit_positions_on_a_timer, do_not_await_a_burial)
}


def apply(name: str) -> None:
    """Make this process's engine wrong, for good. Fails when the engine has no such place any more."""
    MUTANTS[name](pytest.MonkeyPatch())


def pytest_configure() -> None:
    if name := os.environ.get(VARIABLE):
        apply(name)
