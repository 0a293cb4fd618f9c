"""Writes dead letters, and makes sure that there is a topic for them."""

from __future__ import annotations

import asyncio
from contextvars import Context
from datetime import UTC, datetime

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.dead_letters.building import build_dead_letter, size_of
from convex_messaging_fastapi.consuming.dead_letters.size_limit import SizeLimit
from convex_messaging_fastapi.errors import MessageTooLarge, PublishError, TopicUnavailable
from convex_messaging_fastapi.failures import Failure
from convex_messaging_fastapi.observability.tracing import trace_headers
from convex_messaging_fastapi.publishing import Publishing
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import Record, size_of_headers
from convex_messaging_fastapi.transport.base import AdminTransport, NewTopic


def topic_for_dead_letters(topic: NewTopic, largest: int) -> NewTopic:
    """The topic as we create it for dead letters of at most `largest` bytes each."""
    return topic._replace(config={**topic.config, "max.message.bytes": str(largest)})


class DeadLetterTopic:
    """The dead-letter topic: whether it is there, and what it takes. Asked for by one task at a time."""

    def __init__(self, topic: NewTopic, admin: AdminTransport, largest: int, context: Context) -> None:
        self.name: str = topic.name
        self.limit: SizeLimit = SizeLimit(largest)
        self._topic = topic
        self._admin = admin
        self._context = context
        self._asking: asyncio.Task[str | None] | None = None
        self._is_there = False
        self._has_been_there = False
        self._looks = 0
        self._never_there: str | None = None

    @property
    def never_there(self) -> str | None:
        """Why it could not be made so far; `None` once it has been there, and before anybody asked."""
        return None if self._has_been_there else self._never_there

    async def ready(self) -> int:
        """Return once it is there, with the number of the look that saw it. Raises `TopicUnavailable`."""
        if not self._is_there:
            asking = self._asking or self._ask()
            await asyncio.wait([asking])  # not the task itself: it is for everybody who waits
            reason = "the bus is stopping" if asking.cancelled() else asking.result()
            if reason is not None:
                raise TopicUnavailable(reason)
        return self._looks

    def doubt(self, look: int) -> None:
        """A dead letter failed that was begun after this look: the topic may have been deleted since."""
        if look == self._looks:
            self._is_there = False

    async def stop(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _ask(self) -> asyncio.Task[str | None]:
        asking = asyncio.get_running_loop().create_task(
            self._look(), name="convex-dead-letters", context=self._context.copy()
        )
        self._asking = asking
        asking.add_done_callback(self._asked)
        return asking

    def _asked(self, asking: asyncio.Task[str | None]) -> None:
        self._asking = None

    async def _look(self) -> str | None:
        """Create the topic if it is missing; the reason if that fails, else `None`."""
        try:
            await self._admin.ensure_topic(self._topic)
        except TopicUnavailable as error:
            self._never_there = str(error)
            return self._never_there
        self.limit.told(await self._admin.largest_message(self.name))
        self._is_there = self._has_been_there = True
        self._looks += 1
        return None


class DeadLetterWriter:
    """The one way into the dead-letter topic; each dead letter has the default time of a publish."""

    def __init__(self, topic: DeadLetterTopic, publishing: Publishing, clock: Clock) -> None:
        self._topic = topic
        self._limit = topic.limit
        self._publishing = publishing
        self._clock = clock

    @property
    def no_topic(self) -> str | None:
        """Why there has been no topic for dead letters since the start; `None` unless that is known.

        A dead letter that failed shows elsewhere, as the hold on its partition: it ends when that
        partition's owner, here or in another process, has written it.
        """
        return self._topic.never_there

    async def prepare(self) -> None:
        """Create the topic if it is missing. Raises `TopicUnavailable`."""
        await self._topic.ready()

    async def stop(self) -> None:
        """Stop asking for the topic. To be called once nothing is buried any more."""
        await self._topic.stop()

    async def bury(self, record: Record, failure: Failure) -> Receipt:
        """Return once the cluster has acknowledged the dead letter; else raise `PublishError`.

        A topic that takes only small records gets a smaller dead letter, in the end one that points to
        the original instead of holding it. Raises `TopicUnavailable` without a topic.
        """
        look = await self._topic.ready()
        try:
            # Room is taken before it is built: those that wait should cost no more memory than their records.
            async with self._publishing.room_for_dead_letter(_estimate(record)):
                return await self._write_what_fits(record, failure)
        except PublishError:
            self._topic.doubt(look)
            raise

    async def _write_what_fits(self, record: Record, failure: Failure) -> Receipt:
        failed_at, trace = datetime.fromtimestamp(self._clock.unix(), UTC), trace_headers()
        while True:
            limit = self._limit.at(self._clock.now())
            letter = build_dead_letter(record, failure, failed_at, limit, trace)
            size = size_of(letter)
            if self._limit.is_refused(size):
                raise MessageTooLarge(
                    f"a dead letter was not written to topic {self._topic.name!r}: the smallest one has "
                    f"{size} bytes, which is more than the topic takes; raise its max.message.bytes"
                )
            try:
                written = await self._publishing.dead_letter(letter)
            except MessageTooLarge:
                self._limit.refused(size, self._clock.now())
            else:
                self._limit.taken(size)
                return written


def _estimate(record: Record) -> int:
    """The most bytes that a dead letter about this record may have: escaped text takes the most."""
    return 2 * (len(record.value or b"") + len(record.key or b"") + size_of_headers(record.headers))
