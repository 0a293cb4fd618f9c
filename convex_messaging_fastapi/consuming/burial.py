"""Writes dead letters, and makes sure that there is a topic for them."""

from __future__ import annotations

from datetime import UTC, datetime

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.consuming.dead_letters import Failure, dress, size_of
from convex_messaging_fastapi.consuming.letter_sizes import SMALLEST_LETTER_BYTES, LetterSizes
from convex_messaging_fastapi.errors import MessageTooLarge, PublishError, TopicUnavailable
from convex_messaging_fastapi.publishing import Publisher
from convex_messaging_fastapi.records import Record
from convex_messaging_fastapi.transport.base import AdminTransport, NewTopic


def letter_topic(topic: NewTopic, letter_bytes: int) -> NewTopic:
    """A topic as we create it for dead letters: large enough for one about any message that we publish."""
    config = {**topic.config, "max.message.bytes": str(letter_bytes)}
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
        letter_bytes: int,
    ) -> None:
        self._topic = topic
        self._publisher = publisher
        self._admin = admin
        self._clock = clock
        self._timeout = timeout
        self._sizes = LetterSizes(letter_bytes, clock)
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
        for limit in self._sizes:
            letter = dress(record, failure, failed_at, limit)
            try:
                await self._publisher.publish_letter(self._topic.name, letter, self._timeout)
            except MessageTooLarge:
                if limit == SMALLEST_LETTER_BYTES:
                    raise
                self._sizes.refuse(size_of(letter))
            else:
                return
