"""An operator as a process of its own: replays every open letter, and dies where it is told to.

Exits with 0 when the job is done, 3 when another has taken over, 1 when it ended otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable
from functools import wraps
from itertools import count
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.transaction import EndTxnRequest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import ReplayFenced
from convex_messaging_fastapi.operations import Filter, Operations
from convex_messaging_fastapi.operations.replaying.replayer import Replayer
from convex_messaging_fastapi.parts import parts_for, transport_for
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.kafka.producer.transactional import KafkaTransactional
from convex_messaging_fastapi.transport.transactional import Fate, NotCommitted
from tests.support.waiting import eventually

NOTHING_CLAIMED = "nothing is claimed"
CHOSEN = "letters are chosen, nothing is written"
COPIES_WRITTEN = "copies are written, their states are not"
STATES_WRITTEN = "states are written, nothing is committed"
COMMIT_SENT = "the commit is sent, not answered"
COMMITTED = "it is committed, nobody was told"
ABORTED = "a transaction is aborted, the id not claimed anew"
STOPPING = "a job is being stopped"

POINTS = (
    NOTHING_CLAIMED,
    CHOSEN,
    COPIES_WRITTEN,
    STATES_WRITTEN,
    COMMIT_SENT,
    COMMITTED,
    ABORTED,
    STOPPING,
)

FENCED = 3

_passes = count()


def reach(point: str) -> None:
    """Dies, or freezes, if this is the point that was named, and it is time."""
    if point == os.environ.get("REPLAY_POINT") and next(_passes) == int(os.environ["REPLAY_AFTER"]):
        os.kill(os.getpid(), getattr(signal, os.environ.get("REPLAY_BY", "SIGKILL")))


def watch(patch: pytest.MonkeyPatch) -> None:
    writes: dict[int, int] = {}
    claim, write, commit = KafkaTransactional.claim, KafkaTransactional.write, KafkaTransactional.commit
    stop, work = KafkaTransactional.stop, Replayer._slice

    async def claiming(producer: KafkaTransactional) -> None:
        reach(NOTHING_CLAIMED)
        await claim(producer)

    async def slicing(replayer: Replayer, *args: Any) -> None:
        reach(CHOSEN)
        await work(replayer, *args)

    async def writing(producer: KafkaTransactional, records: Any) -> Any:
        written = await write(producer, records)
        writes[id(producer)] = nth = writes.get(id(producer), 0) + 1
        reach(COPIES_WRITTEN if nth % 2 else STATES_WRITTEN)
        if os.environ.get("REPLAY_POINT") == ABORTED and nth == 2 * int(os.environ["REPLAY_AFTER"]) + 1:
            raise NotCommitted(Fate.FAILED, "as a broker may answer")
        return written

    async def committing(producer: KafkaTransactional) -> None:
        await commit(producer)
        reach(COMMITTED)

    async def stopping(producer: KafkaTransactional, deadline: float) -> None:
        was_open = producer._open
        await stop(producer, deadline)
        if was_open and os.environ.get("REPLAY_POINT") == ABORTED:
            os.kill(os.getpid(), signal.SIGKILL)

    patch.setattr(KafkaTransactional, "claim", claiming)
    patch.setattr(KafkaTransactional, "write", writing)
    patch.setattr(KafkaTransactional, "commit", committing)
    patch.setattr(KafkaTransactional, "stop", stopping)
    patch.setattr(Replayer, "_slice", slicing)
    _watch_requests(patch)


def _watch_requests(patch: pytest.MonkeyPatch) -> None:
    send = AIOKafkaConnection.send

    @wraps(send)  # the engine is checked when a transport is made, after this
    def watched(connection: AIOKafkaConnection, request: Any, *args: Any, **kwargs: Any) -> Any:
        answer = send(connection, request, *args, **kwargs)
        if isinstance(request, EndTxnRequest):
            reach(COMMIT_SENT)  # what was written to a socket is sent, also after the death of its process
        return answer

    patch.setattr(AIOKafkaConnection, "send", watched)


def operator(bootstrap: str, prefix: str) -> Operations:
    settings = MessagingSettings(
        bootstrap_servers=bootstrap, topic_prefix=prefix, client_id=f"operator-{os.getpid()}"
    )
    clock = SystemClock()
    return Operations(parts_for(settings, transport_for(settings, clock), clock))


async def act(bootstrap: str, prefix: str, rate: float) -> int:
    actions = operator(bootstrap, prefix)
    job = await actions.replay(Filter(), by="ada", rate=rate, anyway=True, dry_run=False)
    told = asyncio.create_task(_tell(actions, job.id))
    try:
        ended = job if job.status != "running" else await _until_over(actions, job.id)
    except ReplayFenced as fenced:
        _say(fenced=str(fenced))
        return FENCED
    finally:
        told.cancel()
    _say(status=ended.status, done=ended.done, error=ended.error)
    return 0 if ended.status == "done" else 1


async def _until_over(actions: Operations, id: str) -> Any:
    if os.environ.get("REPLAY_POINT") == STOPPING:
        await _some_done(actions, id)
        stopping: Awaitable[None] = actions.stop()
        asyncio.get_running_loop().call_later(0.003 * int(os.environ["REPLAY_AFTER"]), _die)
        await stopping
        _die()
    return await actions.wait_for(id)


async def _some_done(actions: Operations, id: str) -> None:
    await eventually(lambda: (job := actions.job(id)) is None or job.done or job.is_over, 60, "some copies")


async def _tell(actions: Operations, id: str) -> None:
    """Where the job is, for whoever waits for it to be under way."""
    await _some_done(actions, id)
    _say(begun=id)


def _say(**told: object) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    watch(pytest.MonkeyPatch())
    sys.exit(asyncio.run(act(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
