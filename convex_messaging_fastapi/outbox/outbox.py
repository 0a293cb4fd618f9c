"""What users write messages to in a transaction of theirs, so that both are there or neither is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.messages.headers import MESSAGE_ID
from convex_messaging_fastapi.outbox.inserting import Inserting
from convex_messaging_fastapi.outbox.options import RelayOptions
from convex_messaging_fastapi.outbox.relaying import Relaying
from convex_messaging_fastapi.outbox.store import Backlog, ParkedMessage
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.outbox.transactions import Blocking, Waiting, blocking, waiting
from convex_messaging_fastapi.publishing import PublishLimits, Verbs
from convex_messaging_fastapi.publishing.outgoing import Key, UserHeaders
from convex_messaging_fastapi.status import OutboxStatus

M = TypeVar("M")
T = TypeVar("T")

AnyAsync = AsyncSession | AsyncConnection | async_scoped_session[Any]
AnySync = Session | Connection | scoped_session[Any]


class Outbox:
    """Publishes messages exactly if your transaction commits: each is a row of yours until Kafka has it.

        outbox = Outbox(bus, engine, MessagingTables(Base.metadata))

        await outbox.publish(session, "bet.placed", event, key=str(bet.account))
        await session.commit()

    The verbs put a row into the table in *your* transaction and ask no broker. A relay, which starts and
    stops with the bus, publishes the rows of all committed transactions, at least once, and those of one
    key in the order of the table. Topics, messages, keys, headers and middleware are as those of the bus.

    With `relay=False` this process only writes rows; some other must relay them. Relays share the work:
    each holds its part of it for `lease_seconds`, and after a crash another one takes over by then. It
    takes up to `batch` rows at once, and looks into the table every `poll_seconds` where nothing wakes it.
    Rows are deleted once they are published, or after `keep`. Health tells when the oldest waits for
    more than `max_age_seconds`. `listen_dsn` leads to PostgreSQL itself where the engine's way does not, as
    through a pooler.
    """

    def __init__(
        self,
        bus: MessageBus,
        engine: AsyncEngine,
        tables: MessagingTables,
        *,
        relay: bool = True,
        lease_seconds: float = 15.0,
        poll_seconds: float = 1.0,
        batch: int = 1_000,
        keep: timedelta | None = None,
        max_age_seconds: float = 60.0,
        listen_dsn: str | None = None,
    ) -> None:
        if not isinstance(bus, MessageBus):
            raise ConfigurationError(f"an outbox belongs to a MessageBus, not to {type(bus).__name__}")
        if not isinstance(engine, AsyncEngine):
            raise ConfigurationError(
                f"the relay of an outbox needs an AsyncEngine, as create_async_engine makes it, not "
                f"{type(engine).__name__}; publish_sync works beside it with sessions of another engine"
            )
        if not isinstance(tables, MessagingTables):
            raise ConfigurationError(
                f"an outbox needs MessagingTables(metadata), not {type(tables).__name__}"
            )
        self._options = RelayOptions(
            relay, lease_seconds, poll_seconds, batch, keep, max_age_seconds, listen_dsn
        )
        self._bus, self._engine, self._tables = bus, engine, tables
        self._relaying = Relaying(engine, tables, self._options)
        self._name = name = f"the outbox {tables.outbox.fullname}"
        if name in bus.companions:
            raise ConfigurationError(f"the bus has {name} already: give each outbox tables of its own")
        bus.companions.add(name, self._relaying)

    async def publish(
        self,
        session: AnyAsync,
        topic: str,
        message: object,
        *,
        key: Key = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
        message_id: str | None = None,
        ordered: bool = False,
    ) -> str:
        """Put a message into the outbox, in the transaction of `session`, and return its message id.

        It is encoded now; what the session has pending is flushed first. Messages of one key are published
        in the order of their transactions if these do not overlap, or hold a lock of their own on the key.
        `ordered=True` takes such a lock until the transaction ends, on PostgreSQL. Raises `EncodeError` when
        the message cannot become JSON, `MessageTooLarge` when it is over `max_message_bytes`, and
        `ConfigurationError` for a session that cannot be rolled back (AUTOCOMMIT, two phases). A topic
        that takes less, or does not exist, is found out by the relay.
        """
        verbs, rows = self._verbs(waiting(session), ordered)
        await verbs.publish(topic, message, key, _with_id(headers, message_id), correlation_id, None)
        return rows[0].message_ids[-1]

    async def publish_many(
        self,
        session: AnyAsync,
        topic: str,
        messages: Iterable[M],
        *,
        key: Key | Callable[[M], Key] = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
        ordered: bool = False,
    ) -> list[str]:
        """Put many messages into the outbox; returns their message ids, in the order given.

        `key` may be a function of the message. Otherwise as `publish`.
        """
        verbs, rows = self._verbs(waiting(session), ordered)
        await verbs.publish_many(topic, messages, key, headers, correlation_id, None)
        return rows[0].message_ids

    async def send(
        self,
        session: AnyAsync,
        queue: str,
        message: object,
        *,
        key: Key = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
        message_id: str | None = None,
        ordered: bool = False,
    ) -> str:
        """Put a command to a queue into the outbox. Otherwise as `publish`."""
        return await self.publish(
            session,
            queue,
            message,
            key=key,
            headers=headers,
            correlation_id=correlation_id,
            message_id=message_id,
            ordered=ordered,
        )

    async def tombstone(
        self,
        session: AnyAsync,
        topic: str,
        *,
        key: str | bytes,
        headers: UserHeaders | None = None,
        message_id: str | None = None,
        ordered: bool = False,
    ) -> str:
        """Put a null value into the outbox, which deletes what `key` had in a compacted topic."""
        verbs, rows = self._verbs(waiting(session), ordered)
        await verbs.tombstone(topic, key, _with_id(headers, message_id), None)
        return rows[0].message_ids[-1]

    def publish_sync(
        self,
        session: AnySync,
        topic: str,
        message: object,
        *,
        key: Key = None,
        headers: UserHeaders | None = None,
        correlation_id: str | None = None,
        message_id: str | None = None,
        ordered: bool = False,
    ) -> str:
        """`publish` for a `Session` or `Connection`, in any thread.

        Raises `ConfigurationError` where a middleware of publishing waits for something, which only an
        event loop can.
        """
        verbs, rows = self._verbs(blocking(session), ordered)
        headers = _with_id(headers, message_id)
        _finished(verbs.publish(topic, message, key, headers, correlation_id, None))
        return rows[0].message_ids[-1]

    def status(self) -> OutboxStatus:
        """What is known of it in this process; costs no I/O."""
        return self._relaying.status()

    async def parked(self, limit: int = 100) -> list[ParkedMessage]:
        """The first messages that cannot be published as they are, such as those that are too large."""
        return await self._relaying.store.parking.parked(limit)

    async def replay(self, ids: Collection[int] | None = None) -> int:
        """Put parked messages back, by default all; returns how many.

        Each comes after all that are in the outbox now, also after newer ones of its key, with the message
        id that it had.
        """
        replayed = await self._relaying.store.parking.replay(ids)
        self._relaying.committed()
        return replayed

    async def drop(self, ids: Collection[int]) -> int:
        """Delete parked messages for ever; returns how many there were."""
        return await self._relaying.store.parking.drop(ids)

    async def backlog(self) -> Backlog:
        """What waits in the database now. Works without a start."""
        return await self._relaying.store.measuring.waiting()

    async def live_relays(self) -> int:
        """How many relays of it live now, in all processes. Works without a start."""
        return await self._relaying.store.leasing.live_relays()

    def relay_alone(self) -> MessageBus:
        """A bus that relays this outbox and does nothing else, for a process of its own."""
        bus = MessageBus(self._bus._settings, observers=self._bus._observers)
        options = replace(self._options, relay=True)
        bus.companions.add(self._name, Relaying(self._engine, self._tables, options))
        return bus

    def _verbs(self, target: Waiting | Blocking, ordered: bool) -> tuple[Verbs, list[Inserting]]:
        """The verbs that write to this transaction; the list has the rows' writer, which knows their ids."""
        writers: list[Inserting] = []

        def destination(limits: PublishLimits) -> Inserting:
            writer = Inserting(target, self._tables, limits, self._committed, time.time, ordered=ordered)
            writers.append(writer)
            return writer

        return self._bus._verbs_to(destination), writers

    def _committed(self, session: object) -> None:
        """A transaction of an outbox row may have been committed. Any thread may say so."""
        self._relaying.committed()


def _with_id(headers: UserHeaders | None, message_id: str | None) -> Mapping[str, str | bytes] | None:
    return headers if message_id is None else {**(headers or {}), MESSAGE_ID: message_id}


def _finished(call: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise ConfigurationError(
        "a middleware of publishing waits for something, which publish_sync cannot: use "
        "`await outbox.publish(...)` with an AsyncSession"
    )
