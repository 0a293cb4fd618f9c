"""Writes a dead letter about each batch that cannot be read, and lets reading go on behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import NamedTuple

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, sleep
from convex_messaging_fastapi.consuming.assignment import Assignment, Job, OwnedPartition
from convex_messaging_fastapi.consuming.dead_letters import failure_to_read
from convex_messaging_fastapi.consuming.endings.bury import BURIAL_RETRY, NO_DEAD_LETTER, DeadLetters
from convex_messaging_fastapi.consuming.retry import backoff
from convex_messaging_fastapi.errors import PublishError, TransportError
from convex_messaging_fastapi.events import Buried
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.tasks import cancelled, later, say_why_it_ended
from convex_messaging_fastapi.transport.base import ConsumerTransport, Unreadable


class UnreadableBatches:
    """The unreadable batches of one worker in one assignment, at most one a partition.

    A group writes one dead letter about a batch, whatever `dead_letter` its handlers ask for: no handler
    got any of it. The partition waits until the dead letter is written. If the process ends before the
    commit, the dead letter is written again with the same `message-id`. A batch of the topic `unless`,
    the dead-letter topic, gets no dead letter: its partition waits until the batch can be read.
    """

    def __init__(
        self,
        group: str,
        dead_letters: DeadLetters,
        unless: str,
        clock: Clock,
        random: Callable[[], float],
        *,
        texts: bool,
        observers: Observers = ONLY_THE_LOG,
    ) -> None:
        self._observers = observers
        self._group, self._texts = group, texts
        self._dead_letters, self._unless = dead_letters, unless
        self._clock, self._random = clock, random
        self._begun: dict[TopicPartition, _Begun] = {}
        self.failed: bool = False

    def look(
        self,
        unreadable: Mapping[TopicPartition, Unreadable],
        topics: Container[str],
        assignment: Assignment,
        transport: ConsumerTransport,
    ) -> None:
        """Begin a dead letter about each new batch of these topics; drop those that reading has passed."""
        if not unreadable and not self._begun:
            return
        for where in [*self._begun]:
            batch = unreadable.get(where)
            if batch is None or batch.span != self._begun[where].span or where.topic not in topics:
                self._begun.pop(where).burying.cancel()
        for where, batch in unreadable.items():
            if where not in self._begun and where.topic in topics and where.topic != self._unless:
                go_on = partial(transport.pass_over, assignment.epoch, where, batch)
                self._begin(assignment.partitions[where], batch, go_on)

    async def end(self) -> None:
        """Write no more: the assignment is over, and the next owner begins again."""
        burying = [begun.burying for begun in self._begun.values()]
        self._begun.clear()
        await cancelled(*burying)

    def _begin(self, owned: OwnedPartition, batch: Unreadable, go_on: Callable[[], None]) -> None:
        burying = later(self._bury(owned, batch, go_on), f"convex-unreadable {self._group}")
        burying.add_done_callback(self._ended)
        self._begun[owned.topic_partition] = _Begun(batch.span, burying)

    async def _bury(self, owned: OwnedPartition, batch: Unreadable, go_on: Callable[[], None]) -> None:
        record = Record(*owned.topic_partition, batch.first, -1, None, None)
        failure = failure_to_read(batch, self._group, texts=self._texts)
        job = Job(record, owned, 0)
        try:
            while True:
                try:
                    receipt = await self._dead_letters.bury(record, failure)
                    break
                except (PublishError, TransportError) as error:
                    job.burials += 1
                    delay = backoff(BURIAL_RETRY, job.burials, self._random())
                    if job.burials == 1:
                        reports.cannot_bury(record, failure, error, delay)
                owned.holds.place(job, NO_DEAD_LETTER)
                await sleep(self._clock, delay)
        finally:
            owned.holds.lift((job,))
        self._observers.buried(Buried(record, failure, receipt, job.burials))
        go_on()

    def _ended(self, burying: asyncio.Task[None]) -> None:
        if not burying.cancelled() and burying.exception() is not None:
            self.failed = True
        say_why_it_ended(burying)


class _Begun(NamedTuple):
    """The task that writes about the batch of this span; it is kept when it has ended."""

    span: tuple[int, int]
    burying: asyncio.Task[None]
