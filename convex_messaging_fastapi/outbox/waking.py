"""Wakes relays after a commit: the one of this process by an event, on PostgreSQL all others by NOTIFY.

NOTIFY is never part of a user's transaction: PostgreSQL lets such transactions commit one after another. It
is sent afterwards, by a connection of its own. What is lost is found by the next look into the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.tasks import cancelled, later

NOTIFY_SECONDS = 0.005
"""NOTIFY is sent at most this often, however many transactions commit."""

ECHO_SECONDS = 5.0
"""So long a relay waits to hear itself before it believes that LISTEN does not work here."""

AGAIN_SECONDS = 1.0

UNHEARD_POLL_SECONDS = 0.1
"""How often the table is looked at where nobody could wake us."""

_CHANNEL_CHARS = 63


def channel_of(table: str) -> str:
    return table[:_CHANNEL_CHARS]


async def own_connection(engine: AsyncEngine) -> tuple[AsyncConnection, Any]:
    """A connection of one's own, each of whose statements is a transaction, and the driver's object."""
    connection = await engine.execution_options(isolation_level="AUTOCOMMIT").connect()
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    raw.detach()
    return connection, driver


class Notifying:
    """Tells relays of other processes that rows were committed."""

    def __init__(self, engine: AsyncEngine, channel: str) -> None:
        self._engine = engine
        self._channel = channel
        self._wanted = asyncio.Event()

    def tell(self) -> None:
        """Soon; only on the loop of `work`."""
        self._wanted.set()

    async def work(self) -> None:
        """Send what is wanted until this is cancelled; a connection that fails is replaced."""
        while True:
            await self._wanted.wait()
            try:
                await self._send()
            except Exception as error:  # noqa: BLE001 - the others find the rows when they look
                reports.no_answer("waking the other relays of the outbox", type(error).__name__)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _send(self) -> None:
        connection, _ = await own_connection(self._engine)
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                await connection.execute(select(func.pg_notify(self._channel, "")))
                await asyncio.sleep(NOTIFY_SECONDS)
        finally:
            await connection.close()


class Listening:
    """Hears what `Notifying` tells, if the database lets it: a pooler between may not.

    `is_heard` says so. It needs asyncpg.
    """

    def __init__(
        self, engine: AsyncEngine, channel: str, dsn: str | None, wake: Callable[[], object]
    ) -> None:
        self._engine, self._dsn = engine, dsn
        self._channel = channel
        self._wake = wake
        self._echo = f"echo {uuid4().hex}"
        self._echoed = asyncio.Event()
        self._has_warned = False
        self.is_heard: bool = False

    async def work(self) -> None:
        """Listen until this is cancelled; a connection that ends is replaced."""
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - the table is looked at more often meanwhile
                reports.no_answer("listening for the outbox", type(error).__name__)
            finally:
                self.is_heard = False
            await asyncio.sleep(AGAIN_SECONDS)

    async def _listen(self) -> None:
        if self._dsn is not None:
            asyncpg: Any = import_module("asyncpg")  # the user's choice, so not among our imports
            driver = await asyncpg.connect(self._dsn)
            try:
                await self._hear_all(driver)
            finally:
                driver.terminate()
            return
        connection, driver = await own_connection(self._engine)
        try:
            await self._hear_all(driver)
        finally:
            await connection.close()

    async def _hear_all(self, driver: Any) -> None:
        """Return when the connection has ended."""
        ended = asyncio.Event()
        driver.add_termination_listener(lambda _: ended.set())
        await driver.add_listener(self._channel, self._hear)
        checking = later(self._check())
        try:
            await ended.wait()
        finally:
            await cancelled(checking)

    async def _check(self) -> None:
        """By the pool's way, as the rows of others come: does what is told there arrive here?"""
        self._echoed.clear()
        async with self._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(select(func.pg_notify(self._channel, self._echo)))
        try:
            async with asyncio.timeout(ECHO_SECONDS):
                await self._echoed.wait()
        except TimeoutError:
            if not self._has_warned:
                self._has_warned = True
                reports.outbox_hears_nothing(ECHO_SECONDS)
        else:
            self.is_heard = True

    def _hear(self, _: object, __: int, ___: str, payload: str) -> None:
        if payload == self._echo:
            self._echoed.set()
        elif not payload:
            self._wake()


class Waking:
    """Both of them, where the database has them; the relay of this process is woken by `wake`."""

    def __init__(
        self, engine: AsyncEngine, table: str, dsn: str | None, wake: Callable[[], object], *, listens: bool
    ) -> None:
        self._wake = wake
        channel, is_postgresql = channel_of(table), engine.dialect.name == "postgresql"
        self.notifying: Notifying | None = Notifying(engine, channel) if is_postgresql else None
        can_listen = is_postgresql and listens and engine.dialect.driver == "asyncpg"
        self.listening: Listening | None = Listening(engine, channel, dsn, wake) if can_listen else None

    @property
    def is_heard(self) -> bool:
        """Whether other processes can wake this one."""
        return self.listening is not None and self.listening.is_heard

    def tell(self) -> None:
        """Rows may have been committed here."""
        self._wake()
        if self.notifying is not None:
            self.notifying.tell()
