"""Places where a process may die by its own hand, to hit a moment that a kill from outside would hit by luck.

`FAULTS_FAILPOINT` names one of `POINTS` and `FAULTS_FAILPOINT_AFTER` how often it is passed unharmed;
a file `FAULTS_CRASH_MARK` sees to it that only one process dies of it, once.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from functools import wraps
from itertools import count
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.commit import OffsetCommitRequest

from convex_messaging_fastapi.consuming import worker
from convex_messaging_fastapi.consuming.dead_letters import DeadLetterWriter
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Position
from convex_messaging_fastapi.transport.kafka.consumer.consumer import KafkaConsumer
from tests.faults.accidents import is_first

POINT, AFTER = "FAULTS_FAILPOINT", "FAULTS_FAILPOINT_AFTER"

FINISHED = "work is finished, the commit is not sent"
COMMIT_SENT = "the commit is sent, not answered"
COMMITTED = "the commit is answered, nobody was told"
BURIED = "the letter is acknowledged, the record not finished"
DRAINING = "in the middle of a drain"
PASSED_ON = "the record is passed on, the handler not done"

POINTS = (FINISHED, COMMIT_SENT, COMMITTED, BURIED, DRAINING, PASSED_ON)

_passes = count()


def reach(point: str) -> None:
    """SIGKILL, if this is the point that was named, and it is time."""
    if point == os.environ.get(POINT) and next(_passes) >= int(os.environ[AFTER]) and is_first():
        os.kill(os.getpid(), signal.SIGKILL)


def watch() -> None:
    """From now on, for everything in this process. Does nothing where no point is named."""
    if os.environ.get(POINT):
        for watch_some in (_watch_commits, _watch_requests, _watch_burials, _watch_drains):
            watch_some(pytest.MonkeyPatch())


def _watch_commits(patch: pytest.MonkeyPatch) -> None:
    commit = KafkaConsumer.commit

    async def watched(
        consumer: KafkaConsumer, epoch: int, offsets: Mapping[TopicPartition, Position], deadline: float
    ) -> Mapping[TopicPartition, CommitOutcome]:
        reach(FINISHED)
        outcomes = await commit(consumer, epoch, offsets, deadline)
        if CommitOutcome.COMMITTED in outcomes.values():
            reach(COMMITTED)
        return outcomes

    patch.setattr(KafkaConsumer, "commit", watched)


def _watch_requests(patch: pytest.MonkeyPatch) -> None:
    send = AIOKafkaConnection.send

    @wraps(send)  # the engine is checked when a transport is made, after this
    def watched(connection: AIOKafkaConnection, request: Any, *args: Any, **kwargs: Any) -> Any:
        answer = send(connection, request, *args, **kwargs)
        if isinstance(request, OffsetCommitRequest):
            reach(COMMIT_SENT)  # what was written to a socket is sent, also after the death of its process
        return answer

    patch.setattr(AIOKafkaConnection, "send", watched)


def _watch_burials(patch: pytest.MonkeyPatch) -> None:
    bury = DeadLetterWriter.bury

    async def watched(writer: DeadLetterWriter, record: Record, failure: Failure) -> Receipt:
        letter = await bury(writer, record, failure)
        reach(BURIED)
        return letter

    patch.setattr(DeadLetterWriter, "bury", watched)


def _watch_drains(patch: pytest.MonkeyPatch) -> None:
    drain = worker.drain

    async def watched(*args: Any) -> None:
        asyncio.get_running_loop().call_later(0.01, reach, DRAINING)
        await drain(*args)
        reach(DRAINING)  # it was a short one, with nothing under way

    patch.setattr(worker, "drain", watched)
