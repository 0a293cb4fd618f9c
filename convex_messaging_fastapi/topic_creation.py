"""Creates missing topics, and tries for as long as it takes: the cluster may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, sleep
from convex_messaging_fastapi.errors import TopicUnavailable
from convex_messaging_fastapi.transport.base import AdminTransport, NewTopic

TOPIC_RETRY_SECONDS = 5.0


class TopicCreation:
    """One task for each subscription that needs topics, and one for the dead letters."""

    def __init__(self, admin: AdminTransport, clock: Clock, context: Context) -> None:
        self._admin = admin
        self._clock = clock
        self._context = context
        self._tasks: dict[object, asyncio.Task[None]] = {}

    def topics(self, owner: object, topics: Sequence[NewTopic]) -> None:
        """Begin to create `topics` for `owner`; `forget` ends it."""
        if topics:
            self._begin(owner, [partial(self._admin.ensure_topic, topic) for topic in topics])

    def dead_letters(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Begin to create the dead-letter topic, unless that is under way."""
        if prepare not in self._tasks:
            self._begin(prepare, [prepare])

    def forget(self, owner: object) -> None:
        """`owner` needs its topics no longer."""
        if (task := self._tasks.get(owner)) is not None:
            task.cancel()

    async def stop(self) -> None:
        """End everything at once; a topic that is being created may still come to be."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, owner: object, missing: Sequence[Callable[[], Awaitable[None]]]) -> None:
        task = asyncio.get_running_loop().create_task(
            self._make(missing), name="convex-topics", context=self._context.copy()
        )
        self._tasks[owner] = task
        task.add_done_callback(lambda task: self._ended(owner, task))

    def _ended(self, owner: object, task: asyncio.Task[None]) -> None:
        if self._tasks.get(owner) is task:
            del self._tasks[owner]
        if not task.cancelled() and (error := task.exception()) is not None:
            reports.defect("making topics ended in an unexplained error", error)

    async def _make(self, missing: Sequence[Callable[[], Awaitable[None]]]) -> None:
        said: set[str] = set()
        while missing:
            missing = [make for make in missing if not await _made(make, said)]
            if missing:
                await sleep(self._clock, TOPIC_RETRY_SECONDS)


async def _made(make: Callable[[], Awaitable[None]], said: set[str]) -> bool:
    """Whether a topic is there now; each reason why not is logged once, and kept in `said`."""
    try:
        await make()
    except TopicUnavailable as error:
        reason = str(error)
        if reason not in said:
            reports.topic_not_made(reason, TOPIC_RETRY_SECONDS)
        said.add(reason)
        return False
    return True
