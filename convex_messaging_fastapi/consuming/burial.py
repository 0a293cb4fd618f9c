"""Writes dead letters, and makes sure that there is a topic for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.dead_letters import Failure, dress
from convex_messaging_fastapi.errors import MessageTooLarge, PublishError, TopicUnavailable
from convex_messaging_fastapi.publishing import Publisher
from convex_messaging_fastapi.records import Record
from convex_messaging_fastapi.transport.base import AdminTransport, NewTopic

KAFKA_MAX_MESSAGE_BYTES = 1_048_588
"""The broker's default `max.message.bytes`; it counts a batch of one with its overhead."""

LETTER_LIMITS: Sequence[int] = (
    2 * KAFKA_MAX_MESSAGE_BYTES - 1024,
    KAFKA_MAX_MESSAGE_BYTES - 1024,
    64 * 1024,
    1000,
)
"""What a letter may measure: in a topic of our making, in one made with defaults, in a small one, in any."""


def letter_topic(topic: NewTopic) -> NewTopic:
    """A topic as we create it for dead letters: large enough for any about any default message."""
    config = {**topic.config, "max.message.bytes": str(2 * KAFKA_MAX_MESSAGE_BYTES)}
    return topic._replace(config=config)


class Burial:
    """The one way into the dead-letter topic."""

    def __init__(
        self,
        topic: NewTopic,
        publisher: Publisher,
        admin: AdminTransport,
        clock: Clock,
        timeout: float,
    ) -> None:
        self._topic = topic
        self._publisher = publisher
        self._admin = admin
        self._clock = clock
        self._timeout = timeout
        self._topic_is_there = False
        self._no_topic: str | None = None
        self._no_letter: str | None = None

    @property
    def unavailable(self) -> str | None:
        """Why letters cannot be written, for authorised eyes; `None` as far as is known they can."""
        return self._no_topic or self._no_letter

    async def prepare(self) -> None:
        """Create the topic if it is missing. Raises `TopicUnavailable`, and remembers it."""
        if self._topic_is_there:
            return
        try:
            await self._admin.ensure_topic(self._topic)
        except TopicUnavailable as error:
            self._no_topic = str(error)
            raise
        self._topic_is_there = True
        self._no_topic = None

    async def bury(self, record: Record, failure: Failure) -> None:
        """Return once the cluster has acknowledged the letter; else raise `PublishError`.

        A topic that takes only small records gets a smaller letter, at last one that points to
        the original instead of holding it. Raises `TopicUnavailable` without a topic.
        """
        await self.prepare()
        try:
            await self._write_what_fits(record, failure)
        except PublishError as error:
            self._topic_is_there = False  # it may have been deleted: look again before the next try
            self._no_letter = str(error)
            raise
        self._no_letter = None

    async def _write_what_fits(self, record: Record, failure: Failure) -> None:
        failed_at = datetime.fromtimestamp(self._clock.unix(), UTC)
        for limit in LETTER_LIMITS[:-1]:
            try:
                return await self._write(record, failure, failed_at, limit)
            except MessageTooLarge:
                continue
        return await self._write(record, failure, failed_at, LETTER_LIMITS[-1])

    async def _write(self, record: Record, failure: Failure, failed_at: datetime, limit: int) -> None:
        letter = dress(record, failure, failed_at, limit)
        await self._publisher.publish(self._topic.name, letter, self._timeout)
