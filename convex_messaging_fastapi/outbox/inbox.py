"""Handles each message once: what was handled is noted in the transaction of its effects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.errors import AlreadyHandled, ConfigurationError
from convex_messaging_fastapi.outbox.claiming import claim_of, take
from convex_messaging_fastapi.outbox.cleaning import clean
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.records import Delivery

CLAIMS_A_CLEANING = 500

RETENTION = timedelta(days=7)


class Inbox:
    """Lets a handler change its database exactly once for each message, however often that is delivered.

        inbox = Inbox(tables, async_sessionmaker(engine))

        @bus.subscriber("bet.placed")
        async def settle(bet: BetPlaced, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None: ...

    `sessions` makes an `AsyncSession`, or a `Session` for `def` handlers that ask for `inbox.session_sync`.
    A message is known by its `message-id`, which is to be its own among all that a handler reads; one of a
    foreign producer that has none by its topic, partition and offset, which tells our own repeats and not
    the producer's. Each subscription has its own rows, and
    one that is renamed has handled nothing. What was handled longer ago than `retention` is forgotten, so let
    that be longer than dead letters are replayed for. It covers this database, and neither mails nor
    calls of other services.
    """

    def __init__(
        self,
        tables: MessagingTables,
        sessions: Callable[[], AsyncSession] | Callable[[], Session],
        *,
        retention: timedelta = RETENTION,
    ) -> None:
        if not isinstance(tables, MessagingTables):
            raise ConfigurationError(f"an inbox needs MessagingTables(metadata), not {type(tables).__name__}")
        if not callable(sessions):
            raise ConfigurationError(
                "an inbox needs something that makes sessions, such as async_sessionmaker(engine), not "
                f"{type(sessions).__name__}"
            )
        if not isinstance(retention, timedelta) or retention <= timedelta(0):
            raise ConfigurationError(
                f"the retention of an inbox is a timedelta such as timedelta(days=7), not {retention!r}"
            )
        self._tables, self._sessions, self._retention = tables, sessions, retention
        self._claims = count(1)

    async def session(self, delivery: Delivery) -> AsyncIterator[AsyncSession]:
        """A dependency of `async def` handlers: a session in whose transaction the message is claimed.

        It commits once the handler has returned, and rolls back when that fails. A message that was
        handled before ends here, counted `already_handled`. While another process handles the same
        message this waits, for at most five seconds; then the attempt has failed.
        """
        made = self._sessions()
        if not isinstance(made, AsyncSession):
            await_less = "give it an async_sessionmaker, or ask for inbox.session_sync in a `def` handler"
            raise ConfigurationError(f"the inbox makes a {type(made).__name__}, which blocks: {await_less}")
        async with made as session, session.begin(), self.claim(session, delivery) as is_new:
            if not is_new:
                raise AlreadyHandled
            yield session
        if next(self._claims) % CLAIMS_A_CLEANING == 0:
            await self._clean()

    def session_sync(self, delivery: Delivery) -> Iterator[Session]:
        """The same for `def` handlers."""
        made = self._sessions()
        if not isinstance(made, Session):
            raise ConfigurationError(
                f"the inbox makes a {type(made).__name__}: give it a sessionmaker for `def` handlers"
            )
        with made as session, session.begin(), self.claim_sync(session, delivery) as is_new:
            if not is_new:
                raise AlreadyHandled
            yield session
        if next(self._claims) % CLAIMS_A_CLEANING == 0:
            self._clean_sync()

    @asynccontextmanager
    async def claim(self, session: AsyncSession | AsyncConnection, delivery: Delivery) -> AsyncIterator[bool]:
        """Whether the message is new, for a handler that has its session from elsewhere.

            async with inbox.claim(session, delivery) as is_new:
                if is_new:
                    ...

        The message counts as handled once *your* transaction commits; if the block raises, that is rolled
        back. Raises `ConfigurationError` for one that cannot be, and what the database raises.
        """
        if not isinstance(session, AsyncSession | AsyncConnection):
            raise ConfigurationError(
                f"inbox.claim takes your AsyncSession or AsyncConnection, not {type(session).__name__}; for "
                "a Session or Connection there is inbox.claim_sync"
            )
        is_new = await session.run_sync(take, self._tables, claim_of(delivery))
        try:
            yield is_new
        except Exception:  # somebody may catch it, and commit the claim without the effects
            await session.rollback()
            raise

    @contextmanager
    def claim_sync(self, session: Session | Connection, delivery: Delivery) -> Iterator[bool]:
        """The same for a `Session` or `Connection`, in any thread."""
        if not isinstance(session, Session | Connection):
            raise ConfigurationError(
                f"inbox.claim_sync takes your Session or Connection, not {type(session).__name__}; for an "
                "AsyncSession or AsyncConnection there is `async with inbox.claim(...)`"
            )
        is_new = take(session, self._tables, claim_of(delivery))
        try:
            yield is_new
        except Exception:
            session.rollback()
            raise

    async def _clean(self) -> None:
        """In a transaction of its own, for the message is handled: that must not fail with this."""
        try:
            made: Any = self._sessions()
            async with made as session, session.begin():
                await session.run_sync(clean, self._tables, self._retention)
        except SQLAlchemyError as error:
            reports.inbox_not_cleaned(error)

    def _clean_sync(self) -> None:
        try:
            made: Any = self._sessions()
            with made as session, session.begin():
                clean(session, self._tables, self._retention)
        except SQLAlchemyError as error:
            reports.inbox_not_cleaned(error)
