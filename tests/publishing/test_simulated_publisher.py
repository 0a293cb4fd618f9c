"""Random lives of a publisher find nothing, and what is put back into the code is found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from convex_messaging_fastapi.publishing import batches
from convex_messaging_fastapi.publishing.batches import PartitionQueue
from convex_messaging_fastapi.publishing.outstanding import Outstanding
from convex_messaging_fastapi.publishing.pending import Batch, Line, Pending
from tests.publishing.simulator import Life, Met

SEEDS = (1, 7_001, 1_000_003)
SHORT, LONG = 20, 500

EVERYTHING = {
    "batches failed",
    "batches refused",
    "batches taken in part",
    "batches unknown",
    "batches unknown, landed",
    "batches written",
    "counts that raise",
    "lives with eager tasks",
    "messages without room",
    "outcomes CancelledError",
    "outcomes MessageTooLarge",
    "outcomes PublishFailed",
    "outcomes PublishUnknown",
    "outcomes Receipt",
    "records taken at once",
    "records too large for their topic",
    "sends that raise",
    "stops amid everything",
    "topics that are missing",
    "topics that grow",
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Errors that a transport did not explain are logged with their traces, thousands of them here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def live(seed: int, lives: int) -> Met:
    met = Met()
    for number in range(seed, seed + lives):
        try:
            Life(number, met).live()
        except BaseException:
            print(f"the life of seed {number} ended badly")  # noqa: T201
            raise
    print(f"seed {seed}, {lives} lives: {dict(sorted(met.items()))}")  # noqa: T201
    return met


@pytest.mark.parametrize("seed", SEEDS)
def test_some_lives_find_nothing(seed: int) -> None:
    assert {met for met, times in live(seed, SHORT).items() if times} == EVERYTHING


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_many_lives_find_nothing(seed: int) -> None:
    met = live(seed, LONG)
    assert set(met) == EVERYTHING
    assert all(times >= 100 for times in met.values()), met


def eager(work: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
    return asyncio.create_task(work, name=name)


def last_outcome_counts(self: Outstanding, message: Pending, error: Any) -> None:
    message.outcome = None
    settle(self, message, error)


settle = Outstanding.settle


def behind_what_came_later(self: Line, batch: Batch) -> None:
    for message in batch.pending:
        if message.outcome is None:
            self.append(message)


def no_doubt(batch: Batch) -> None:
    """What may be written is told as unwritten."""


def nothing_is_given_back(self: Outstanding, batch: Batch, receipts: Any) -> None:
    held = self.bytes
    acknowledge(self, batch, receipts)
    self.bytes = held


acknowledge = Outstanding.acknowledge


MUTANTS = {
    "a task of a queue runs before it is stored": (batches, "later", eager),
    "the last outcome counts, not the first": (Outstanding, "settle", last_outcome_counts),
    "what failed goes behind what came later": (Line, "put_back", behind_what_came_later),
    "what may be written is told as unwritten": (batches, "_doubt", no_doubt),
    "room of what is acknowledged is not given back": (Outstanding, "acknowledge", nothing_is_given_back),
    "a stop settles nothing": (PartitionQueue, "give_up", lambda self: None),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_put_back_into_the_code_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, mutant = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, mutant)
    with pytest.raises((AssertionError, RecursionError)):
        live(SEEDS[0], SHORT)
