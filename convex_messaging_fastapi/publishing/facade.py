"""The one way to publish: makes the record of a message, the wire name of a topic, the default timeout."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, cast

from convex_messaging_fastapi.clock import Clock
from convex_messaging_fastapi.errors import ConfigurationError, EncodeError, PublishError
from convex_messaging_fastapi.middleware import Middleware, Outgoing, Receipts, around_publish
from convex_messaging_fastapi.naming import Naming
from convex_messaging_fastapi.observers import ONLY_THE_LOG, Observers
from convex_messaging_fastapi.publishing.outgoing import (
    Key,
    UserHeaders,
    outgoing,
    outgoing_many,
    outgoing_tombstone,
)
from convex_messaging_fastapi.publishing.publisher import Publisher
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, OutgoingRecords
from convex_messaging_fastapi.status import ProducerStatus

M = TypeVar("M")


class Destination(Protocol):
    """Where records go: the cluster by way of `Publisher`, or the outbox of a user's own database."""

    async def publish(self, topic: str, record: OutgoingRecord, timeout: float, /) -> Receipt: ...

    async def publish_many(
        self, topic: str, records: OutgoingRecords, timeout: float, /
    ) -> list[Receipt]: ...


class Verbs:
    """What users call to publish: makes the records, and hands them to `destination`.

    Topics are names as users write them. `timeout` is seconds, by default `default_timeout`.
    `middleware` wraps `publish`, `publish_many` and `tombstone`.
    """

    def __init__(
        self,
        destination: Destination,
        naming: Naming,
        clock: Clock,
        default_timeout: float,
        middleware: Sequence[Middleware] = (),
        observers: Observers = ONLY_THE_LOG,
    ) -> None:
        self.clock = clock
        self._begins, self._sending = observers.publishing, observers.sending
        write = self._write if self._begins is None else self._write_observed
        wrapped = around_publish(middleware, write)
        # `None` on the plain path, where nobody wraps a publish or hears of it.
        self._wrapped = None if wrapped == self._write and self._sending is None else wrapped
        self._destination = destination
        self._naming = naming
        self._default_timeout = default_timeout

    def record(
        self,
        topic: str,
        message: object,
        key: Key = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
    ) -> tuple[str, OutgoingRecord]:
        """The wire name of a topic, and the record of a message for it. Writes nothing.

        Raises `EncodeError` when the message cannot become JSON, `ConfigurationError` for what
        cannot be the name of a topic, and for a topic of ours.
        """
        record = outgoing(message, key, headers, correlation_id, self.clock.unix())
        return self._naming.to_publish(topic), record

    # These three are not async, so that the caller awaits the publisher itself: a frame less for each.
    def publish(
        self,
        topic: str,
        message: object,
        key: Key,
        headers: UserHeaders | None,
        correlation_id: str | None,
        timeout: float | None,
    ) -> Coroutine[Any, Any, Receipt]:
        """Write one message; the coroutine raises as the destination does, this call as `record`."""
        if self._wrapped is not None:
            outgoing = Outgoing(topic, message, key, headers or {}, correlation_id, timeout, "publish")
            return cast("Coroutine[Any, Any, Receipt]", self._wrapped(outgoing))
        wire_topic, record = self.record(topic, message, key, headers, correlation_id)
        return self._destination.publish(wire_topic, record, self.seconds(timeout))

    def publish_many(
        self,
        topic: str,
        messages: Iterable[M],
        key: Key | Callable[[M], Key],
        headers: UserHeaders | None,
        correlation_id: str | None,
        timeout: float | None,
    ) -> Coroutine[Any, Any, list[Receipt]]:
        """Write many messages, with one deadline for all; raises as the destination does."""
        if self._wrapped is not None:
            outgoing = Outgoing(topic, messages, key, headers or {}, correlation_id, timeout, "publish_many")
            return cast("Coroutine[Any, Any, list[Receipt]]", self._wrapped(outgoing))
        return self._write_many(topic, messages, key, headers, correlation_id, timeout)

    def tombstone(
        self, topic: str, key: str | bytes, headers: UserHeaders | None, timeout: float | None
    ) -> Coroutine[Any, Any, Receipt]:
        """Write a null value."""
        if self._wrapped is not None:
            outgoing = Outgoing(topic, None, key, headers or {}, None, timeout, "tombstone")
            return cast("Coroutine[Any, Any, Receipt]", self._wrapped(outgoing))
        record = outgoing_tombstone(key, headers, self.clock.unix())
        return self._destination.publish(self._naming.to_publish(topic), record, self.seconds(timeout))

    async def _write_observed(self, outgoing: Outgoing) -> Receipts:
        topic = self._naming.topic(outgoing.topic)
        end = self._begins(topic, outgoing.verb) if self._begins is not None else None
        if end is None:
            return await self._write(outgoing)
        try:
            receipts = await self._write(outgoing)
        except BaseException as error:
            end((), error)
            raise
        end(receipts if isinstance(receipts, list) else (receipts,), None)
        return receipts

    async def _write(self, outgoing: Outgoing) -> Receipts:
        """What the last middleware calls."""
        key: Any = outgoing.key
        topic, headers, timeout = outgoing.topic, outgoing.headers, outgoing.timeout
        if outgoing.verb == "publish_many":
            messages, correlation_id = outgoing.message, outgoing.correlation_id
            return await self._write_many(topic, messages, key, headers, correlation_id, timeout)
        if outgoing.verb == "publish":
            topic, record = self.record(topic, outgoing.message, key, headers, outgoing.correlation_id)
        elif outgoing.message is not None:
            raise EncodeError("a tombstone has no message: a middleware of publishing has given it one")
        else:
            topic = self._naming.to_publish(topic)
            record = outgoing_tombstone(key, headers, self.clock.unix())
        if self._sending is not None:
            self._sending(record.headers)
        return await self._destination.publish(topic, record, self.seconds(timeout))

    async def _write_many(
        self,
        topic: str,
        messages: Iterable[M],
        key: Key | Callable[[M], Key],
        headers: UserHeaders | None,
        correlation_id: str | None,
        timeout: float | None,
    ) -> list[Receipt]:
        records = await outgoing_many(messages, key, headers, correlation_id, self.clock.unix())
        return await self._destination.publish_many(
            self._naming.to_publish(topic), records, self.seconds(timeout)
        )

    def seconds(self, timeout: float | None) -> float:
        """Seconds that a message may take to be written. Raises `ConfigurationError` for anything invalid."""
        if timeout is None:
            return self._default_timeout
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise ConfigurationError(
                f"`timeout` is a number of seconds, such as timeout=5 or timeout=0.5, not {timeout!r}"
            )
        if not timeout > 0:
            raise ConfigurationError(f"a message is published within more than 0 seconds, not {timeout!r}")
        return timeout


class Publishing(Verbs):
    """Everything in this package that writes to the log does so through this, dead letters included.

    Only `record` works without a start. Like its publisher, this cannot be started again. Dead letters do
    not pass through the middleware.
    """

    def __init__(
        self,
        publisher: Publisher,
        naming: Naming,
        clock: Clock,
        default_timeout: float,
        middleware: Sequence[Middleware] = (),
        observers: Observers = ONLY_THE_LOG,
    ) -> None:
        super().__init__(publisher, naming, clock, default_timeout, middleware, observers)
        self._publisher = publisher

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        await self._publisher.start()

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, write what waits, and close the producer, all within `seconds`."""
        await self._publisher.stop(seconds)

    def status(self) -> ProducerStatus:
        return self._publisher.status()

    def room_for_dead_letter(self, size: int) -> AbstractAsyncContextManager[None]:
        """Reserve room for a dead letter of `size` bytes; raises as `Publisher.room_for_dead_letter` does."""
        return self._publisher.room_for_dead_letter(self._naming.dead_letters, size, self._default_timeout)

    def dead_letter(self, letter: OutgoingRecord) -> Coroutine[Any, Any, Receipt]:
        """Write a dead letter, to which the limits of messages do not apply."""
        if self._sending is not None:
            self._sending(letter.headers)
        return self._publisher.publish(
            self._naming.dead_letters, letter, self._default_timeout, is_limited=False
        )

    def write_each(
        self, topic: str, records: OutgoingRecords, timeout: float
    ) -> Coroutine[Any, Any, list[Receipt | PublishError]]:
        """Write finished records to a topic on the wire; as `Publisher.publish_each`."""
        return self._publisher.publish_each(topic, records, timeout)
