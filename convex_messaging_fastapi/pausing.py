"""What this process was told to pause: reads the control topic of its fleet, and tells its subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import aclosing
from contextvars import Context

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.subscription import Subscription
from convex_messaging_fastapi.consuming.worker import Worker
from convex_messaging_fastapi.errors import TransportError
from convex_messaging_fastapi.messages.pauses import Pause, Whom, Words, word_of
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.tasks import cancelled
from convex_messaging_fastapi.transport.base import LogRange, LogReader

LOOK_SECONDS = 5.0
FIRST_READ_SECONDS = 3.0
"""How long handlers wait, at the start, for what is paused. Then they begin without knowing."""


class Pauses:
    """The latest word for each subscription, of its fleet or of this process alone.

    The control topic has one partition. It is read whole before workers fetch their first record; then its
    end is asked for by a member of some group here, which is one request every five seconds.
    """

    def __init__(self, topic: str, logs: LogReader, clock: Clock, context: Context) -> None:
        self._where = TopicPartition(topic, 0)
        self._logs, self._clock, self._context = logs, clock, context
        self._workers: Callable[[], Collection[Worker]] = lambda: ()
        self._words: Words = {}
        self._position = 0
        self._has_complained = False
        self._may_begin = False
        self._has_started = False
        self._task: asyncio.Task[None] | None = None

    def start(self, workers: Callable[[], Collection[Worker]]) -> None:
        """Begin to read, as soon as there is a worker.

        Workers that were held back go on after the first read, or after three seconds.
        """
        self._workers, self._has_started = workers, True
        if workers():
            self._begin_to_look()

    async def stop(self) -> None:
        self._has_started = False
        task, self._task = self._task, None
        await cancelled(task)

    def hold_back(self, worker: Worker) -> None:
        """Let one of the workers, which is new, fetch nothing before it is known what is paused."""
        if not self._may_begin:
            worker.hold_back()
        if self._has_started and self._task is None:
            self._begin_to_look()

    def tell(self, subscription: Subscription) -> None:
        """Tell a new subscription what was said before it came. It may be told again."""
        if (pause := self._words.get(whom(subscription))) is not None:
            subscription.pause(pause)
        elif subscription.paused is not None:
            subscription.resume()

    def say(self, to: Whom, pause: Pause | None) -> bool:
        """A word for this process alone; whether it has this subscription."""
        found = any(whom(each) == to for worker in self._workers() for each in worker.subscriptions)
        if found:
            self._hear({to: pause})
        return found

    # -- inside --------------------------------------------------------------------------------

    def _begin_to_look(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="convex-control", context=self._context.copy())
        self._task.add_done_callback(_ended)

    async def _run(self) -> None:
        late = self._clock.call_later(FIRST_READ_SECONDS, self._begin_without)
        try:
            await self._look(first=True)
        finally:
            late.cancel()
            self._begin()
        while True:
            await self._until_next_look()
            await self._look()

    async def _until_next_look(self) -> None:
        due = asyncio.Event()
        timer = self._clock.look_later(LOOK_SECONDS, due.set)
        try:
            await due.wait()
        finally:
            timer.cancel()

    async def _look(self, *, first: bool = False) -> None:
        """Read what is new. Whatever the cluster answers, nothing is raised."""
        try:
            end = await self._first_end() if first else await self._end()
            if end is not None and end != self._position:
                await self._read(0 if end < self._position else self._position, end)
        except TransportError as error:
            self._complain(str(error))
        else:
            self._has_complained = False

    async def _first_end(self) -> int | None:
        """Asked for without a member, since none has joined yet."""
        there = (await self._logs.ranges(self._where.topic)).get(self._where)
        return None if there is None else there.end

    async def _end(self) -> int | None:
        for worker in tuple(self._workers()):
            if (ends := await worker.transport.ends([self._where])) is not None:
                return ends.get(self._where)  # one answer is enough, also that there is no such topic
        return None

    async def _read(self, begin: int, end: int) -> None:
        words: Words = {}
        async with aclosing(self._logs.read({self._where: LogRange(begin, end)})) as lists:
            async for records in lists:
                words.update(word for record in records if (word := word_of(record)) is not None)
        self._position = end
        self._hear(words)

    def _hear(self, words: Words) -> None:
        self._words.update(words)
        for worker in self._workers():
            for subscription in worker.subscriptions:
                if (to := whom(subscription)) in words:
                    _obey(subscription, words[to])

    def _begin_without(self) -> None:
        self._complain(f"no answer in {FIRST_READ_SECONDS:g} s")
        self._begin()

    def _begin(self) -> None:
        if not self._may_begin:
            self._may_begin = True
            for worker in self._workers():
                worker.go_on()

    def _complain(self, reason: str) -> None:
        """Once, however often it is looked in vain."""
        reports.pauses_not_known(self._where.topic, reason, is_known=self._has_complained)
        self._has_complained = True


def whom(subscription: Subscription) -> Whom:
    return Whom(subscription.config.group, subscription.config.id)


def _obey(subscription: Subscription, pause: Pause | None) -> None:
    group, id = whom(subscription)
    if pause is not None:
        subscription.pause(pause)
        reports.paused(group, id, pause.by, pause.reason)
        return
    if subscription.paused is not None:
        reports.resumed(group, id)
    subscription.resume()


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        reports.defect("the question for pauses ended in an unexplained error", error)
