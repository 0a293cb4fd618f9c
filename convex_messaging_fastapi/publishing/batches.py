"""The queue and the task of one partition: packs waiting messages, sends them in order, resends failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count, repeat

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, sleep
from convex_messaging_fastapi.errors import MessageTooLarge
from convex_messaging_fastapi.publishing import publish_errors
from convex_messaging_fastapi.publishing.offers import Offer
from convex_messaging_fastapi.publishing.outstanding import Outstanding, due
from convex_messaging_fastapi.publishing.pending import Batch, Call, Line, Pending, Several
from convex_messaging_fastapi.publishing.wake_pacing import WakePacing
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import TopicPartition, utc
from convex_messaging_fastapi.tasks import later
from convex_messaging_fastapi.transport.base import ProducerTransport, Sent, Verdict

# What a NamedTuple's own constructor does, without its detour through Python: one for every message.
_receipt: Callable[[Iterable[object]], Receipt] = partial(tuple.__new__, Receipt)

_AGAIN = (Verdict.FAILED, Verdict.UNKNOWN)

_NOTHING = Batch((), 0)


class PartitionQueue:
    """The messages of one partition, first in, first out, one send at a time.

    Its task lives while messages wait, and ends when the queue is empty. `batches` counts the sends
    that were begun.
    """

    def __init__(
        self,
        where: TopicPartition,
        producer: ProducerTransport,
        clock: Clock,
        outstanding: Outstanding,
        pacing: WakePacing,
    ) -> None:
        self._where = where
        self._producer = producer
        self._clock = clock
        self._outstanding = outstanding
        self._pacing = pacing
        self._line = Line()
        self._in_flight = _NOTHING
        self._offer = Offer()
        self._alone = False  # whether one message is under way that needs no task
        self._task: asyncio.Task[None] | None = None
        self.batches: int = 0

    @property
    def name(self) -> str:
        return publish_errors.named(self._where)

    @property
    def partition(self) -> int:
        return self._where.partition

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The running task, `None` while there is nothing to do."""
        return self._task

    def load(self) -> int:
        """How many messages wait here or are with the transport."""
        return len(self._line) + len(self._in_flight)

    def append(self, message: Pending) -> None:
        if self._task is not None or self._alone:
            self._line.append(message)
        elif self._outstanding.pending > 1 or not self._send_alone(message):
            # In the next turn of the loop, so that what many callers publish in this one goes out together.
            self._line.append(message)
            self._begin()

    def expire(self, until: float) -> float:
        """Settle what is due by `until`; returns the nearest deadline left."""
        flying, nearest_flying = due(self._in_flight.pending, until)
        waiting, nearest_waiting = due(self._line.waiting(), until)
        for message in flying + waiting:
            reason = self._why_late(message)
            self._outstanding.settle(message, publish_errors.overdue(message, self.name, reason))
        return min(nearest_flying, nearest_waiting)

    def give_up(self) -> None:
        """Settle everything: the publisher stops."""
        for message in [*self._in_flight.pending, *self._line.waiting()]:
            error = publish_errors.given_up(message, self.name, self._why_late(message))
            self._outstanding.settle(message, error)

    def _send_alone(self, message: Pending) -> bool:
        """Send one message at once, since nothing else is being published; whether the transport took it."""
        batch = Batch((message,), 1)
        self._alone = self._producer.send_now(self._where, batch[0], partial(self._answered, batch))
        if self._alone:
            self._in_flight = batch
            self.batches += 1
        return self._alone

    def _answered(self, batch: Batch, sent: Sent) -> None:
        self._alone = False
        must_wait = self._settle(batch, sent)
        if len(self._line):
            self._begin(must_wait)

    def _begin(self, must_wait: bool = False) -> None:
        self._task = later(self._work(must_wait))

    async def _work(self, must_wait: bool) -> None:
        try:
            if must_wait:
                await self._wait_before_resending()
            while batch := self._line.take(self._offer.size):
                sent = await self._send(batch)
                if len(batch) > 1:
                    await self._pacing.take(len(batch))
                if self._settle(batch, sent):
                    await self._wait_before_resending()
        finally:
            self._in_flight = _NOTHING
            self._task = None

    async def _send(self, batch: Batch) -> Sent:
        self._in_flight = batch
        self.batches += 1
        try:
            return await self._producer.send(self._where, batch)
        except (Exception, asyncio.CancelledError) as problem:
            # A failing engine may cancel its own futures, which must not end this task.
            if isinstance(problem, asyncio.CancelledError) and _cancelled_from_outside():
                raise
            reports.defect(
                f"sending to {self.name} ended in an error that its transport did not explain", problem
            )
            reason = f"the transport raised {type(problem).__name__}"
            return Sent(len(batch), Verdict.UNKNOWN, reason=reason)

    def _settle(self, batch: Batch, sent: Sent) -> bool:
        """Settle or requeue a batch by the answer to it; whether to wait before the next send."""
        self._in_flight = _NOTHING
        taken = 1 if sent.verdict is Verdict.TOO_LARGE else sent.taken
        these, others = batch.split(taken)
        self._line.put_back(others)
        if sent.verdict in _AGAIN or not taken:
            if sent.verdict is Verdict.UNKNOWN:
                _doubt(these)
            self._line.put_back(these)
            self._offer.note_failure(sent)
            return True
        self._offer.note_answer(len(batch), taken, sent.verdict)
        if sent.verdict is Verdict.WRITTEN:
            self._acknowledge(these, sent)
        else:
            self._refuse(these, sent)
        return False

    def _acknowledge(self, batch: Batch, sent: Sent) -> None:
        milliseconds = sent.timestamp_ms if sent.timestamp_ms >= 0 else int(self._clock.unix() * 1000)
        topic, partition = self._where
        at = utc(milliseconds)
        offsets = count(sent.base_offset) if sent.base_offset >= 0 else repeat(-1)
        fields = zip(repeat(topic), repeat(partition), offsets, repeat(at))
        self._outstanding.acknowledge(batch, map(_receipt, fields))

    def _refuse(self, batch: Batch, sent: Sent) -> None:
        explain = publish_errors.too_large if sent.verdict is Verdict.TOO_LARGE else publish_errors.refused
        for message in batch.pending:
            # This attempt wrote nothing, but an earlier one may have.
            explain_this = publish_errors.refused_in_doubt if message.doubtful else explain
            error = explain_this(self._where, sent.reason)
            self._outstanding.settle(message, error)
            if isinstance(message, Several) and message.call.halts and not isinstance(error, MessageTooLarge):
                self._halt(message.call, sent.reason)

    def _halt(self, call: Call, reason: str) -> None:
        """Send nothing more of a call: one of its messages was refused here, and the next may not be."""
        for message in self._line.waiting():
            if isinstance(message, Several) and message.call is call:
                explain = publish_errors.refused_in_doubt if message.doubtful else publish_errors.halted
                self._outstanding.settle(message, explain(self._where, reason))

    async def _wait_before_resending(self) -> None:
        await sleep(self._clock, self._offer.wait_seconds)

    def _why_late(self, message: Pending) -> str:
        said = self._producer.complaint(self._where) or self._offer.reason
        problem = self._producer.contact().problem
        if problem is not None:
            before = f", and last answered with {said}" if said else ""
            return f"the producer is out of contact ({problem.value}{before})"
        if said:
            return f"the last attempt was answered with {said}"
        if message.line is None:
            return "the cluster has not answered yet"
        return "the messages before it were still waiting for the cluster"


def _doubt(batch: Batch) -> None:
    for message in batch.pending:
        message.doubtful = True


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
