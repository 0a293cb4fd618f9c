"""Publishes records. Each gets exactly one outcome: acknowledged, certainly not written, or unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from math import inf
from typing import cast

from convex_messaging_fastapi.clock import Clock, settled_within, sleep, time_limit
from convex_messaging_fastapi.errors import PublishError, PublishManyError, PublishUnknown
from convex_messaging_fastapi.publishing import publish_errors
from convex_messaging_fastapi.publishing.limits import KEPT_BYTES, PublishLimits
from convex_messaging_fastapi.publishing.outstanding import Outstanding
from convex_messaging_fastapi.publishing.partitioner import Partitioner
from convex_messaging_fastapi.publishing.pending import Call, Pending, Several, Single
from convex_messaging_fastapi.publishing.room import Room
from convex_messaging_fastapi.publishing.topics import Topic
from convex_messaging_fastapi.publishing.wake_pacing import WakePacing
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords, size_of
from convex_messaging_fastapi.status import ProducerStatus
from convex_messaging_fastapi.transport.base import ProducerTransport, contact_status

CLOSING_SHARE = 0.2
LONGEST_CLOSING_SECONDS = 1.0

DEFAULT_LIMITS = PublishLimits()

_RECORDS_A_TURN = 1_000


class Publisher:
    """Writes records to the log, those of one partition in the order in which they were given.

    Topics are names on the wire. Keyless records go to one partition until its batch is on its
    way, then to the next. A record that failed, or whose outcome is unknown, is sent again, in order,
    until its own deadline. So a record may be written twice, and one with a `PublishUnknown` may still
    be written later. A publisher cannot be started again after `stop`.

        publisher = Publisher(producer, SystemClock(), Partitioner("murmur2"))
        await publisher.start()
        receipt = await publisher.publish("convex.user.created", record, timeout=10)
    """

    def __init__(
        self,
        producer: ProducerTransport,
        clock: Clock,
        partitioner: Partitioner,
        limits: PublishLimits = DEFAULT_LIMITS,
    ) -> None:
        self._producer = producer
        self._clock = clock
        self._partitioner = partitioner
        self._limits = limits
        self._topics: dict[str, Topic] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._outstanding = Outstanding(clock, self._expire)
        self._dead_letter_room = Room(limits.pending_dead_letter_bytes)
        self._pacing = WakePacing(clock)
        self._accepting = False
        # Tasks begun for one message serve later ones, so they must not see the variables of its request.
        self._context = copy_context()

    async def start(self) -> None:
        """Begin to connect. Returns at once; publishing waits for the cluster until its deadline."""
        self._context = copy_context()
        await self._producer.start()
        self._accepting = True

    async def publish(
        self,
        topic: str,
        record: OutgoingRecord,
        timeout: float,
        partition: int | None = None,
        *,
        is_limited: bool = True,
    ) -> Receipt:
        """Write one record and say where it landed, after at most `timeout` seconds.

        The offset is -1 if the cluster acknowledged without naming one. Raises `PublishFailed` if the
        record is certainly not written (`MessageTooLarge` if no retry can help), and `PublishUnknown` if
        it may be. Cancelling the call takes back a record that was not sent yet; one already on its way
        may be written. A `partition` added to the topic within the last half minute may be unknown yet.
        No limit applies to a record that is not `is_limited`.
        """
        now = self._clock.now()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        size = size_of(record) + KEPT_BYTES if is_limited else 0
        message = Single(record, now + timeout, partition, done, size)
        self._context.run(self._accept, topic, message, now)
        try:
            await done
        except asyncio.CancelledError:
            self._abandon(message, topic)
            raise
        outcome = message.outcome
        if isinstance(outcome, Receipt):
            return outcome
        raise cast("PublishError", outcome)

    @asynccontextmanager
    async def room_for_dead_letter(self, topic: str, size: int, timeout: float) -> AsyncIterator[None]:
        """Reserve room for a dead letter of `size` bytes while it is built and published.

        Messages have other room. Raises `PublishFailed` if other dead letters fill this one for
        `timeout` seconds.
        """
        try:
            async with time_limit(self._clock, timeout):
                await self._dead_letter_room.take(size)
        except TimeoutError:
            self._outstanding.failed += 1
            raise publish_errors.no_room_for_dead_letter(topic, size) from None
        try:
            yield
        finally:
            self._dead_letter_room.give_back(size)

    async def publish_many(self, topic: str, records: OutgoingRecords, timeout: float) -> list[Receipt]:
        """Write all of `records`; the receipts are in the order given.

        `timeout` is seconds for all of them together. Raises `PublishManyError` unless all were
        acknowledged; it tells by index which failed and which are unknown. If there is no room for all
        of them, all fail and none is sent.
        """
        if not records:
            return []
        self._reserve(topic, records)
        call = Call(records)
        try:
            await self._accept_all(topic, call, timeout)
            await call.done
        except asyncio.CancelledError:
            for several in list(call.waiting):
                self._abandon(several, topic)
            raise
        if not call.is_written:
            raise _what_failed(call.outcomes)
        return cast("list[Receipt]", call.outcomes)

    async def publish_each(
        self, topic: str, records: OutgoingRecords, timeout: float
    ) -> list[Receipt | PublishError]:
        """Write all of `records`; returns what became of each, in the order given.

        Of one partition none is acknowledged after one that failed or is unknown: what comes after such a
        one is not sent. Only one that is too large lets the others go on. Otherwise as `publish_many`,
        but in a single turn of the loop, so that a topic cannot be gone for the first alone.
        """
        if not records:
            return []
        try:
            self._reserve(topic, records)
        except PublishManyError as crowded:
            return [cast("PublishError", crowded.failed[index]) for index in range(len(records))]
        call = Call(records, halts=True)
        everything = Several(call, range(len(records)), self._clock.now() + timeout)
        self._context.run(self._accept_several, topic, everything)
        try:
            await call.done
        except asyncio.CancelledError:
            for several in list(call.waiting):
                self._abandon(several, topic)
            raise
        return cast("list[Receipt | PublishError]", call.outcomes)

    async def flush(self, seconds: float) -> bool:
        """Wait up to `seconds` until every message has an outcome, also those published meanwhile."""
        if seconds <= 0 or not self._outstanding.pending:
            return not self._outstanding.pending
        return await settled_within(self._clock, self._outstanding.emptied(), seconds)

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, flush, and close the producer, all within `seconds`.

        The callers of messages that are not acknowledged by then get `PublishFailed` or `PublishUnknown`.
        A fifth of the time, at most a second, is for closing.
        """
        deadline = self._clock.now() + seconds
        self._accepting = False
        try:
            await self.flush(seconds - min(LONGEST_CLOSING_SECONDS, CLOSING_SHARE * seconds))
            self._give_up()
            await self._producer.stop(deadline)
        finally:
            self._give_up()
            await self._end_tasks(deadline)

    def status(self) -> ProducerStatus:
        outstanding, contact = self._outstanding, self._producer.contact()
        return ProducerStatus(
            alive=self._accepting and contact.alive,
            contact=contact_status(contact, self._clock.now()),
            pending=outstanding.pending,
            published=outstanding.published,
            failed=outstanding.failed,
            unknown=outstanding.unknown,
        )

    def _reserve(self, topic: str, records: OutgoingRecords) -> None:
        """Take the room for all records, or raise the error of all."""
        waiting, size = self._outstanding.bytes, sum(records.sizes) + KEPT_BYTES * len(records)
        if self._accepting and waiting + size > self._limits.pending_bytes:
            error = publish_errors.crowded(topic, len(records), size, waiting, self._limits.pending_bytes)
            self._outstanding.failed += len(records)
            raise _what_failed([error] * len(records))
        self._outstanding.bytes += size

    async def _accept_all(self, topic: str, call: Call, timeout: float) -> None:
        deadline = self._clock.now() + timeout
        accepted, total = 0, len(call.records)
        try:
            while accepted < total:
                if accepted:
                    await sleep(self._clock, 0)  # a long list must not hold up the loop
                some = range(accepted, min(accepted + _RECORDS_A_TURN, total))
                accepted = some.stop
                self._context.run(self._accept_several, topic, Several(call, some, deadline))
        finally:
            self._outstanding.bytes -= call.size_of(range(accepted, total))

    def _accept(self, topic: str, message: Single, now: float) -> None:
        outstanding, limits, size = self._outstanding, self._limits, message.size
        outstanding.add(1, message.deadline)
        outstanding.bytes = waiting = outstanding.bytes + size
        is_over = waiting > limits.pending_bytes or size > limits.message_bytes + KEPT_BYTES
        if is_over and (error := self._why_not(topic, message)) is not None:
            outstanding.settle(message, error)
        elif self._accepting:
            known = self._topics.get(topic) or self._new_topic(topic)
            known.append(message, now)
        else:
            outstanding.settle(message, publish_errors.not_running(topic))

    def _why_not(self, topic: str, message: Single) -> PublishError | None:
        """The error of the limit that a message exceeds, if any."""
        limits = self._limits
        if not self._accepting:
            return publish_errors.not_running(topic)
        if (error := publish_errors.too_large_for(limits, topic, message.record, message.size)) is not None:
            return error
        waiting = self._outstanding.bytes - message.size
        if waiting + message.size <= limits.pending_bytes:
            return None
        return publish_errors.crowded(topic, 1, message.size, waiting, limits.pending_bytes)

    def _abandon(self, message: Pending, topic: str) -> None:
        if message.outcome is None:
            self._outstanding.settle(message, publish_errors.abandoned(message, repr(topic)))
            if (known := self._topics.get(topic)) is not None:
                self._drop_unwanted(known)

    def _accept_several(self, topic: str, several: Several) -> None:
        self._outstanding.add(several.messages, several.deadline)
        if not self._accepting:
            self._outstanding.settle(several, publish_errors.not_running(topic))
            return
        sizes = several.call.records.sizes
        if max(map(sizes.__getitem__, several.indices)) > self._limits.message_bytes:
            several = self._without_too_large(topic, several)
        if several.messages:
            known = self._topics.get(topic) or self._new_topic(topic)
            known.append(several, self._clock.now())

    def _without_too_large(self, topic: str, several: Several) -> Several:
        records = several.call.records
        errors = {
            index: error
            for index in several.indices
            if (
                error := publish_errors.too_large_for(
                    self._limits, topic, records[index], several.call.size_of((index,))
                )
            )
            is not None
        }
        fit = [index for index in several.indices if index not in errors]
        rest, *refused = several.divide(fit, *((index,) for index in errors))
        for part, error in zip(refused, errors.values(), strict=True):
            self._outstanding.settle(part, error)
        return rest

    def _new_topic(self, name: str) -> Topic:
        topic = Topic(
            name,
            self._producer,
            self._clock,
            self._partitioner,
            self._outstanding,
            self._pacing,
            self._drop_unwanted,
        )
        self._topics[name] = topic
        return topic

    def _drop_unwanted(self, topic: Topic) -> None:
        """Forget a topic that is not known to exist once no message waits for it: names may be made up."""
        if topic.is_wanted or self._topics.get(topic.name) is not topic:
            return
        del self._topics[topic.name]
        for task in topic.tasks():
            task.cancel()
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def _expire(self, until: float) -> float:
        nearest = inf
        for topic in list(self._topics.values()):
            nearest = min(nearest, topic.expire(until))
            self._drop_unwanted(topic)
        return nearest

    def _give_up(self) -> None:
        for topic in self._topics.values():
            topic.give_up()

    async def _end_tasks(self, deadline: float) -> None:
        tasks = [*self._leaving, *(task for topic in self._topics.values() for task in topic.tasks())]
        for task in tasks:
            task.cancel()
        ended: asyncio.Future[object] = asyncio.ensure_future(asyncio.gather(*tasks, return_exceptions=True))
        await settled_within(self._clock, ended, deadline - self._clock.now())


def _what_failed(outcomes: Sequence[Receipt | PublishError | None]) -> PublishManyError:
    receipts = [outcome if isinstance(outcome, Receipt) else None for outcome in outcomes]
    errors = {index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, PublishError)}
    unknown = {index: error for index, error in errors.items() if isinstance(error, PublishUnknown)}
    failed = {index: error for index, error in errors.items() if index not in unknown}
    return PublishManyError(receipts, failed, unknown)
