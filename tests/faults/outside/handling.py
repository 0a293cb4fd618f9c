"""What every outside worker does with a message, and notes of it: the same as `tests.faults.app`.

It knows the same variables, of `KAFKA_*` those for the address, the group, the prefix and the
session, and of `FAULTS_*` those for the ledger, the name, the pace, and what hangs or fails.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Mapping
from typing import Any, Protocol

from aiokafka.consumer.group_coordinator import GroupCoordinator
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from tests.support.ledgers import Writer

BOOTSTRAP = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
TOPIC = f"{os.environ['KAFKA_TOPIC_PREFIX']}.work"
GROUP = os.environ["KAFKA_CONSUMER_GROUP"]
SESSION_MS = int(os.environ["KAFKA_SESSION_TIMEOUT_MS"])

logging.basicConfig(level=os.environ.get("FAULTS_LOG", "WARNING"), format="%(asctime)s %(name)s %(message)s")

ledger = Writer(os.environ["FAULTS_LEDGER"], os.environ["FAULTS_NAME"])
slowest = float(os.environ.get("FAULTS_SLOWEST_SECONDS", "0"))
stuck_every = int(os.environ.get("FAULTS_STUCK_EVERY", "0"))
stuck_seconds = float(os.environ.get("FAULTS_STUCK_SECONDS", "3600"))
chance = random.Random(os.environ.get("FAULTS_SEED", "0"))
poisoned = os.environ.get("FAULTS_POISONED")


class Taken(Protocol):
    """What the notes need of a record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...


told = APIRouter()
"""What every worker tells besides its health."""


class Work(BaseModel):
    id: int = Field(alias="Id")


@told.get("/tasks", response_class=PlainTextResponse)
async def tasks() -> str:
    return str(len(asyncio.all_tasks()))


async def handle(message: Work, record: Taken) -> None:
    """Takes up to `FAULTS_SLOWEST_SECONDS`, or `FAULTS_STUCK_SECONDS`."""
    about = record_of(message, record)
    ledger.note("start", **about)
    try:
        await asyncio.sleep(seconds_for(message))  # simulates work
    except asyncio.CancelledError:
        ledger.note("cancelled", **about)
        raise
    if about["key"] == poisoned and not is_cured():
        ledger.note("error", **about)
        raise ValueError("a poisoned key")
    ledger.note("ok", **about)


def is_cured() -> bool:
    return os.path.exists(os.environ["FAULTS_CURE"])


def seconds_for(message: Work) -> float:
    if stuck_every and message.id % stuck_every == 0:
        return stuck_seconds
    return chance.uniform(0, slowest)


def record_of(message: Work, record: Taken) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": None if record.key is None else record.key.decode(),
        "id": message.id,
    }


def note_commits() -> None:
    """From now on, whatever any consumer of this process commits, by its own timer too."""
    commit = GroupCoordinator._do_commit_offsets

    async def noted(coordinator: GroupCoordinator, assignment: object, offsets: Mapping[Any, Any]) -> None:
        _note("commit", offsets)
        await commit(coordinator, assignment, offsets)
        _note("committed", offsets)

    GroupCoordinator._do_commit_offsets = noted


def _note(event: str, offsets: Mapping[Any, Any]) -> None:
    for (topic, partition), position in offsets.items():
        ledger.note(event, topic=topic, partition=partition, offset=position.offset)


note_commits()
