"""The running parts of one bus: started in order, stopped in order, drawn as one snapshot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from convex_messaging_fastapi.clock import Clock, settled_within, sleep
from convex_messaging_fastapi.consuming.burial import Burial
from convex_messaging_fastapi.consuming.snapshots import worker_status
from convex_messaging_fastapi.consuming.subscription import Subscription
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.consuming.worker import Worker, cancelled
from convex_messaging_fastapi.errors import BusStopped, TopicUnavailable
from convex_messaging_fastapi.publishing import Publisher
from convex_messaging_fastapi.status import BusStatus, Phase
from convex_messaging_fastapi.transport.base import AdminTransport, NewTopic

logger = logging.getLogger(__name__)

TOPIC_RETRY_SECONDS = 5.0

LEAVE_SHARE = 0.6
"""Of what a drain leaves of the shutdown time, this share is for committing and leaving the groups;
the rest is for flushing the producer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each part of the end may take, in seconds."""

    drain: float
    shutdown: float


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that runs. `topics` are created at the start, where the settings ask for it."""

    clock: Clock
    publisher: Publisher
    burial: Burial
    admin: AdminTransport
    threads: HandlerThreads
    patience: Patience
    topics: Sequence[NewTopic]
    new_worker: Callable[[str], Worker]
    workers: dict[str, Worker] = field(default_factory=dict)
    _chores: list[asyncio.Task[None]] = field(default_factory=list)
    _changes: set[asyncio.Task[None]] = field(default_factory=set)
    _one_change_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Set everything going; nothing here waits for the cluster."""
        await self.publisher.start()
        if self.workers:
            self._prepare(self.topics)
        for worker in self.workers.values():
            await worker.start()

    async def stop(self) -> None:
        """Drain, commit, leave, flush: at most `patience.shutdown` seconds, whatever the cluster does."""
        self._ending.set()
        deadline = self.clock.now() + self.patience.shutdown
        leave_by = deadline - (self.patience.shutdown - self.patience.drain) * (1 - LEAVE_SHARE)
        try:
            await cancelled(*self._chores)
            self._chores.clear()
            drain = self.patience.drain
            await self._within(leave_by, [worker.stop(drain, leave_by) for worker in self.workers.values()])
            await self._within(deadline, [self.publisher.stop(max(0.0, deadline - self.clock.now()))])
        finally:
            # Also when the stop itself is cancelled: a stuck handler must not outlive the process's end.
            self.threads.close()

    async def attach(self, subscription: Subscription, topics: Sequence[NewTopic]) -> None:
        """Add one subscription while running; `topics` of it are created where they are missing.

        Raises `BusStopped` once the end has begun. A caller that is cancelled does not stop it.
        """
        await self._change(self._attach(subscription, topics))

    async def detach(self, id: str) -> None:
        """Take one subscription away; a worker that has none left leaves its group.

        A caller that is cancelled does not stop it.
        """
        await self._change(self._detach(id))

    async def _change(self, change: Coroutine[Any, Any, None]) -> None:
        """Make a change to its end, whatever becomes of its caller: half of one leaves a group unread."""
        task = asyncio.create_task(change, name="convex-change")
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        await asyncio.shield(task)

    async def _attach(self, subscription: Subscription, topics: Sequence[NewTopic]) -> None:
        async with self._one_change_at_a_time:
            if self._ending.is_set():
                raise BusStopped("the bus is stopping: it takes in no more handlers")
            self._prepare(topics)
            group = subscription.lineup.group
            worker = self.workers.get(group)
            if worker is not None:
                await worker.attach(subscription, self.patience.drain)
                return
            worker = self.workers[group] = self.new_worker(group)
            worker.add(subscription)
            await worker.start()

    async def _detach(self, id: str) -> None:
        async with self._one_change_at_a_time:
            worker = next(worker for worker in self.workers.values() if worker.has(id))
            await worker.detach(id, self.patience.drain)
            if not worker.subscriptions:
                del self.workers[worker.group]
                await worker.stop(0.0, self.clock.now() + self.patience.shutdown - self.patience.drain)

    def status(self, phase: Phase) -> BusStatus:
        return BusStatus(
            phase=phase,
            producer=self.publisher.status(),
            workers=tuple(worker_status(worker, self.clock) for worker in self.workers.values()),
            problems=("dlq_unavailable",) if self.burial.unavailable is not None else (),
            threads=self.threads.status(),
        )

    def _prepare(self, topics: Sequence[NewTopic]) -> None:
        self._chores.append(asyncio.create_task(self._create(topics), name="convex-topics"))

    async def _create(self, topics: Sequence[NewTopic]) -> None:
        """Create what is missing, trying for as long as it takes: the cluster may be away."""
        missing: list[Callable[[], Awaitable[None]]] = [
            *(partial(self.admin.ensure_topic, topic) for topic in topics),
            self.burial.prepare,
        ]
        said: set[str] = set()
        while missing:
            missing = [create for create in missing if not await _created(create, said)]
            if missing:
                await sleep(self.clock, TOPIC_RETRY_SECONDS)

    async def _within(self, deadline: float, steps: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Take these steps side by side; one that fails or is late keeps no other from its turn."""
        if not steps:
            return
        tasks = [asyncio.ensure_future(step) for step in steps]
        together = asyncio.gather(*tasks, return_exceptions=True)
        if not await settled_within(self.clock, together, deadline - self.clock.now()):
            logger.error("part of the shutdown was not done in time and is left behind: %s", tasks)
            for task in tasks:
                task.cancel()
            return
        for outcome in together.result():
            if isinstance(outcome, BaseException):
                logger.error("a step of the shutdown failed: %r", outcome, exc_info=outcome)


async def _created(create: Callable[[], Awaitable[None]], said: set[str]) -> bool:
    """Whether a topic is there now; why not is `said` once."""
    try:
        await create()
    except TopicUnavailable as error:
        reason = str(error)
        if reason not in said:
            logger.warning("%s; trying again every %g s", reason, TOPIC_RETRY_SECONDS)
        said.add(reason)
        return False
    return True
