"""Operators and workers as processes of their own, for tests that kill, freeze or stop them.

An operator replays every open letter, and dies or stands still where it is told to. It exits with 0 when
nothing is left, with 3 when another has taken over, and with 1 when it ended otherwise.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from itertools import count
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.transaction import EndTxnRequest

from convex_messaging_fastapi import Delivery, MessageBus, MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.errors import ReplayFenced
from convex_messaging_fastapi.operations import Filter, Job, Operations
from convex_messaging_fastapi.operations.replaying.replayer import Replayer
from convex_messaging_fastapi.parts import parts_for, transport_for
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
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

PASSES: Mapping[str, int | None] = {
    NOTHING_CLAIMED: 2,
    CHOSEN: None,
    COPIES_WRITTEN: None,
    STATES_WRITTEN: None,
    COMMIT_SENT: None,
    COMMITTED: None,
    ABORTED: None,
    STOPPING: None,
}
"""The points where an operator may end, and how often one passes by there: as often as it has slices, or as
often as it claims an id, once to begin and once for its group."""

DONE, FENCED = 0, 3


class Orders(NamedTuple):
    """What an operator is told: how many letters a second, and at which point `signal` comes to it.

    It does when the point was passed `after` times.
    """

    rate: float
    point: str = ""
    after: int = 0
    signal: int = signal.SIGKILL


class Watched:
    """An operator's steps, each of which may be its last."""

    def __init__(self, orders: Orders, told: Connection) -> None:
        self.orders, self._told = orders, told
        self._passes = count()

    def reach(self, point: str) -> None:
        if self.is_time(point):
            self._told.send({"reached": point})
            os.kill(os.getpid(), self.orders.signal)

    def is_time(self, point: str) -> bool:
        return point == self.orders.point and next(self._passes) == self.orders.after

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        claim, write, commit = KafkaTransactional.claim, KafkaTransactional.write, KafkaTransactional.commit
        stop, work = KafkaTransactional.stop, Replayer._slice

        async def claiming(producer: KafkaTransactional) -> None:
            self.reach(NOTHING_CLAIMED)
            await claim(producer)

        async def slicing(replayer: Replayer, *args: Any) -> None:
            self.reach(CHOSEN)
            await work(replayer, *args)

        async def writing(producer: KafkaTransactional, records: Any) -> Any:
            written = await write(producer, records)
            match _kind(records):
                case "copies" if self.is_time(ABORTED):
                    raise NotCommitted(Fate.FAILED, "as a broker may answer")
                case "copies":
                    self.reach(COPIES_WRITTEN)
                case "states":
                    self.reach(STATES_WRITTEN)
                case _:
                    pass
            return written

        async def committing(producer: KafkaTransactional) -> None:
            await commit(producer)
            self.reach(COMMITTED)

        async def stopping(producer: KafkaTransactional, deadline: float) -> None:
            is_aborted = producer._open
            await stop(producer, deadline)
            if is_aborted and self.orders.point == ABORTED:
                die()

        patch.setattr(KafkaTransactional, "claim", claiming)
        patch.setattr(KafkaTransactional, "write", writing)
        patch.setattr(KafkaTransactional, "commit", committing)
        patch.setattr(KafkaTransactional, "stop", stopping)
        patch.setattr(Replayer, "_slice", slicing)
        patch.setattr(AIOKafkaConnection, "send", self._sending(AIOKafkaConnection.send))

    def _sending(self, send: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(send)  # the engine is checked when a transport is made, after this
        def sending(connection: AIOKafkaConnection, request: Any, *args: Any, **kwargs: Any) -> Any:
            answer = send(connection, request, *args, **kwargs)
            if isinstance(request, EndTxnRequest):
                self.reach(COMMIT_SENT)  # what was written to a socket is sent, also after its process died
            return answer

        return sending


def _kind(records: Mapping[TopicPartition, Sequence[OutgoingRecord]]) -> str:
    """What of a slice a write is: what is written about the job alone is nothing of it."""
    if any(where.topic.endswith(".replay") and some for where, some in records.items()):
        return "copies"
    keys = (record.key or b"" for some in records.values() for record in some)
    return "states" if any(key.startswith(b"letter/") for key in keys) else ""


def operator(bootstrap: str, prefix: str) -> Operations:
    settings = MessagingSettings(
        bootstrap_servers=bootstrap, topic_prefix=prefix, client_id=f"operator-{os.getpid()}"
    )
    clock = SystemClock()
    return Operations(parts_for(settings, transport_for(settings, clock), clock))


def operate(bootstrap: str, prefix: str, orders: Orders, told: Connection) -> None:
    """Tells how many are `done`, again and again, and at the end how the job has ended."""
    Watched(orders, told).watch(pytest.MonkeyPatch())
    sys.exit(asyncio.run(_act(operator(bootstrap, prefix), orders, told)))


async def _act(actions: Operations, orders: Orders, told: Connection) -> int:
    job = await actions.replay(Filter(), by="ada", rate=orders.rate, anyway=True, dry_run=False)
    if not job.selected:
        return DONE
    telling = asyncio.create_task(_tell(actions, job, told))
    try:
        if orders.point == STOPPING:
            await _die_stopping(actions, job, orders)
        job = await actions.wait_for(job.id)
    except ReplayFenced as fenced:
        told.send({"fenced": str(fenced)})
        return FENCED
    finally:
        telling.cancel()
    told.send({"status": job.status, "done": job.done, "error": job.error})
    return DONE if job.status == "done" else 1


async def _die_stopping(actions: Operations, job: Job, orders: Orders) -> None:
    await eventually(lambda: (actions.job(job.id) or job).done, 60, "some copies")
    asyncio.get_running_loop().call_later(0.003 * orders.after, die)
    await actions.stop()
    die()


async def _tell(actions: Operations, job: Job, told: Connection) -> None:
    def done() -> int:
        return (actions.job(job.id) or job).done

    known = 0
    while True:
        await eventually(lambda: done() > known, 600, "more copies")  # noqa: B023 - awaited here
        known = done()
        told.send({"done": known})


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work(bootstrap: str, prefix: str, group: str, ledger: str) -> None:
    """Two handlers of a group, and one of another, until somebody ends this.

    Each writes a line into `ledger` for a message that it is given: group, handler, and the value.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_work(bootstrap, prefix, group, os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)))


async def _work(bootstrap: str, prefix: str, group: str, ledger: int) -> None:
    bus = MessageBus(
        MessagingSettings(
            bootstrap_servers=bootstrap,
            topic_prefix=prefix,
            consumer_group=group,
            session_timeout_ms=6000,
            auto_commit_interval_ms=200,
        )
    )
    for of_group, handler in ((group, "settle"), (group, "sibling"), (f"{group}-2", "other")):
        bus.subscriber("payments", id=handler, group=of_group)(_noting(of_group, handler, ledger))
    async with bus:
        await asyncio.Event().wait()


def _noting(group: str, handler: str, ledger: int) -> Callable[..., Any]:
    async def handle(message: bytes, delivery: Delivery) -> None:
        await asyncio.sleep(0)
        os.write(ledger, b"%s %s %s\n" % (group.encode(), handler.encode(), message))

    return handle
