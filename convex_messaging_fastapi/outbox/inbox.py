"""Handles each message once in your own database: its effects are committed with the note that it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy import Connection, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.errors import AlreadyHandled, ConfigurationError
from convex_messaging_fastapi.outbox.claims import claim_of, is_fresh
from convex_messaging_fastapi.outbox.cleaning import clean
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.outbox.transactions import Blocking, Waiting, connection_of
from convex_messaging_fastapi.records import Delivery

CLAIMS_A_CLEANING = 500
"""Fewer than the rows that a cleaning deletes, so that it keeps up with what comes."""


class Inbox:
    """Keeps repeats of a message from a handler, by a row in the handler's own transaction.

        inbox = Inbox(MessagingTables(Base.metadata), async_sessionmaker(engine))

        @bus.subscriber("bet.placed")
        async def settle(bet: BetPlaced, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
            ...

    `session` is a dependency: the session of one attempt, committed when the handler has returned and rolled
    back when it fails. A message that this handler has handled before ends in it, as `AlreadyHandled`. With
    a `sessionmaker` it serves `def` handlers. Only what is written by that session is done once: mails, calls
    of other services and other databases are not.

    Messages are known for `keep` by handler (`{group}/{id}`) and message id; `None` keeps them for ever.
    A claim waits for another transaction that handles the same message, at most `lock_timeout_seconds`;
    on SQLite as long as its driver does. Then the attempt has failed, and is tried again.
    """

    def __init__(
        self,
        tables: MessagingTables,
        session_factory: async_sessionmaker[Any] | sessionmaker[Any],
        *,
        keep: timedelta | None = timedelta(days=7),
        lock_timeout_seconds: float = 5,
    ) -> None:
        if not isinstance(tables, MessagingTables):
            raise ConfigurationError(f"an inbox needs MessagingTables(metadata), not {type(tables).__name__}")
        if not isinstance(session_factory, async_sessionmaker | sessionmaker):
            raise ConfigurationError(
                "an inbox opens a session for each attempt: give it an async_sessionmaker, or a sessionmaker "
                f"for `def` handlers, not {type(session_factory).__name__}"
            )
        if keep is not None and keep <= timedelta():
            raise ConfigurationError(f"an inbox keeps what it knows for more than no time, not for {keep}")
        if not lock_timeout_seconds > 0:
            raise ConfigurationError(
                f"a claim waits for more than no time, not for {lock_timeout_seconds} s: a repeat has to "
                "wait until it is known what became of the first"
            )
        self._tables, self._factory, self._keep = tables, session_factory, keep
        self._lock_seconds = lock_timeout_seconds
        self._claims = count(1)
        waits = isinstance(session_factory, async_sessionmaker)
        self.session: Callable[..., Any] = self._session if waits else self._blocking_session

    @asynccontextmanager
    async def claim(
        self, session: AsyncSession | AsyncConnection | async_scoped_session[Any], delivery: Delivery
    ) -> AsyncIterator[bool]:
        """Whether the message is fresh: that its handler has not handled it, and nobody else can now.

        It is, with whatever follows in the transaction of `session`, once you commit that. If the block
        raises, the transaction is rolled back. Raises `ConfigurationError` for a session that cannot be
        rolled back, and what the database raises.
        """
        given = session() if isinstance(session, async_scoped_session) else session
        if not isinstance(given, Waiting):
            raise ConfigurationError(
                f"inbox.claim takes your AsyncSession or AsyncConnection, not {type(given).__name__}; for a "
                "Session or Connection there is inbox.claim_sync"
            )
        claim = claim_of(delivery)
        if (keep := self._cleaning_due()) is not None:
            await self._clean_beside(given, keep)
        fresh = await given.run_sync(is_fresh, self._tables, claim, self._lock_seconds)
        try:
            yield fresh
        except Exception:
            await given.rollback()
            raise

    @contextmanager
    def claim_sync(
        self, session: Session | Connection | scoped_session[Any], delivery: Delivery
    ) -> Iterator[bool]:
        """`claim` for a `Session` or `Connection`, in any thread."""
        given = session() if isinstance(session, scoped_session) else session
        if not isinstance(given, Blocking):
            raise ConfigurationError(
                f"inbox.claim_sync takes your Session or Connection, not {type(given).__name__}; for an "
                "AsyncSession or AsyncConnection there is `async with inbox.claim(...)`"
            )
        claim = claim_of(delivery)
        if (keep := self._cleaning_due()) is not None:
            self._clean_beside_blocking(given, keep)
        fresh = is_fresh(given, self._tables, claim, self._lock_seconds)
        try:
            yield fresh
        except Exception:
            given.rollback()
            raise

    async def _session(self, delivery: Delivery) -> AsyncIterator[AsyncSession]:
        async with self._factory() as session:
            async with self.claim(session, delivery) as fresh:
                if not fresh:
                    raise AlreadyHandled
                yield session
            await session.commit()

    def _blocking_session(self, delivery: Delivery) -> Iterator[Session]:
        with self._factory() as session:
            with self.claim_sync(session, delivery) as fresh:
                if not fresh:
                    raise AlreadyHandled
                yield session
            session.commit()

    def _cleaning_due(self) -> timedelta | None:
        return self._keep if next(self._claims) % CLAIMS_A_CLEANING == 0 else None

    async def _clean_beside(self, target: Waiting, keep: timedelta) -> None:
        """Clean in a transaction of its own; on SQLite, which has one writer, in the one that is there."""
        try:
            if isinstance(self._factory, sessionmaker) or await target.run_sync(self._has_one_writer):
                await target.run_sync(clean, self._tables, keep)
                return
            async with self._factory.begin() as session:
                await session.run_sync(clean, self._tables, keep)
        except SQLAlchemyError as error:
            reports.inbox_not_cleaned(error)

    def _clean_beside_blocking(self, target: Blocking, keep: timedelta) -> None:
        try:
            if isinstance(self._factory, async_sessionmaker) or self._has_one_writer(target):
                clean(target, self._tables, keep)
                return
            with self._factory.begin() as session:
                clean(session, self._tables, keep)
        except SQLAlchemyError as error:
            reports.inbox_not_cleaned(error)

    def _has_one_writer(self, target: Blocking) -> bool:
        return connection_of(target, insert(self._tables.inbox)).dialect.name == "sqlite"
