"""Lets the relay of an outbox run beside a bus: its tasks, its clock, and what is known of the outbox."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import StaticPool

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import settled_within
from convex_messaging_fastapi.companions import Company
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.outbox.checking import check
from convex_messaging_fastapi.outbox.contacts import DatabaseContact
from convex_messaging_fastapi.outbox.leases import LeaseTerms, seconds
from convex_messaging_fastapi.outbox.options import RelayOptions
from convex_messaging_fastapi.outbox.outlet import BusOutlet
from convex_messaging_fastapi.outbox.relay import Pace, Relay
from convex_messaging_fastapi.outbox.store import Store
from convex_messaging_fastapi.outbox.store.dialects import MYSQL
from convex_messaging_fastapi.outbox.store.measuring import CLEANED_AT_ONCE, Backlog
from convex_messaging_fastapi.outbox.tables import MessagingTables
from convex_messaging_fastapi.outbox.waking import UNHEARD_POLL_SECONDS, Waking
from convex_messaging_fastapi.status import OutboxStatus
from convex_messaging_fastapi.tasks import cancelled, later, say_why_it_ended

BATCH_BYTES = 16 * 1024 * 1024

CLEANINGS_A_BEAT = 20


class Known:
    """What the latest look into the database has shown."""

    def __init__(self) -> None:
        self.relays: int | None = None
        self.waiting: Backlog | None = None
        self.looked_at: float | None = None
        self.refused: str | None = None


class Relaying:
    """The companion of a bus that publishes the rows of one outbox, or only looks after its health."""

    def __init__(self, engine: AsyncEngine, tables: MessagingTables, options: RelayOptions) -> None:
        self._engine, self._tables, self._options = engine, tables, options
        self._known = Known()
        self._running: Running | None = None
        self.store: Store = Store(engine, tables, "", keeps=False)  # for whoever is no relay

    async def start(self, company: Company) -> None:
        """Begin; the database may be away."""
        self._known = Known()
        self._running = Running(self._engine, self._tables, self._options, company, self._known)
        if not company.is_test:
            self._running.begin()

    async def stop(self, seconds: float) -> None:
        """Wait for what is under way, and give the lanes to other relays, within `seconds`."""
        running, self._running = self._running, None
        if running is not None:
            await running.end(seconds)

    async def turn(self) -> bool:
        """Publish what is committed; whether that was anything."""
        return self._running is not None and await self._running.turn()

    def committed(self) -> None:
        """Rows may have been committed. Any thread may say so."""
        if (running := self._running) is not None:
            running.wake_from_any_thread()

    def status(self) -> OutboxStatus:
        known, waiting, running = self._known, self._known.waiting, self._running
        relay = None if running is None else running.relay
        return OutboxStatus(
            name=self._tables.outbox.fullname,
            relay=self._options.relay,
            relays=known.relays,
            lanes=0 if relay is None else len(relay.lanes.tokens),
            pending=None if waiting is None else waiting.pending,
            oldest_seconds=None if waiting is None else waiting.oldest_seconds,
            max_age_seconds=self._options.max_age_seconds,
            parked=None if waiting is None else waiting.parked,
            held=() if relay is None else tuple(sorted(relay.holding.topics.items())),
            published=0 if relay is None else relay.counts.published,
            repeats_possible=0 if relay is None else relay.counts.repeats_possible,
            database=None if running is None else running.database.problem,
            refused=known.refused,
            looked_seconds=None if known.looked_at is None else seconds() - known.looked_at,
        )


class Running:
    """One start of it, on one event loop."""

    def __init__(
        self,
        engine: AsyncEngine,
        tables: MessagingTables,
        options: RelayOptions,
        company: Company,
        known: Known,
    ) -> None:
        self._engine, self._tables, self._options = engine, tables, options
        self._clock = company.clock
        self._known = known
        self._store = Store(engine, tables, uuid4().hex, keeps=options.keep is not None)
        size = min(BATCH_BYTES, company.limits.pending_bytes // 2)
        pace, outlet = Pace(options.batch, size, self._poll_seconds), BusOutlet(company.publishing)
        terms = LeaseTerms(options.lease_seconds)
        self.relay: Relay = Relay(self._store, outlet, terms, pace, company.clock, seconds, random.random)
        self._waking = Waking(
            engine, tables.outbox.fullname, options.listen_dsn, self.relay.wake, listens=options.relay
        )
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._is_prepared = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def _is_shared(self) -> bool:
        return isinstance(self._engine.sync_engine.pool, StaticPool)

    @property
    def database(self) -> DatabaseContact:
        return self.relay.database

    def begin(self) -> None:
        if self._is_shared:
            self._refuse(_SHARED)
            return
        if (notifying := self._waking.notifying) is not None:
            self._task(notifying.work(), "outbox: waking others")
        if (listening := self._waking.listening) is not None:
            self._task(listening.work(), "outbox: listening")
        self._task(self._look_after(), _BEATING)
        if self._options.relay:
            self._task(self.relay.work(), _RELAYING)

    async def end(self, seconds: float) -> None:
        self._ended.set_result(None)
        self.relay.end()
        at_work = [task for task in self._tasks if task.get_name() in (_BEATING, _RELAYING)]
        ends = asyncio.gather(*at_work, return_exceptions=True)
        await settled_within(self._clock, ends, seconds * 0.3)
        await cancelled(*self._tasks)
        if self._is_prepared and self._options.relay:
            await self.relay.stop(seconds)

    async def turn(self) -> bool:
        """Reads first: somebody's transaction may have the only lock for writing that SQLite gives."""
        if not self._options.relay or self._is_in_use() or not await self._has_any():
            return False
        before = self.relay.counts.published, self.relay.counts.parked
        await self._look()
        while await self.relay.turn():
            await self.relay.settled()
        return (self.relay.counts.published, self.relay.counts.parked) != before

    def wake_from_any_thread(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._waking.tell)

    async def _look_after(self) -> None:
        """Beat and measure until the end, or until the database turns out to be none for an outbox."""
        while True:
            try:
                await self._look()
                wait = LeaseTerms(self._options.lease_seconds).beat
            except ConfigurationError as error:
                self._refuse(str(error))
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the next beat may succeed
                wait = self.database.failed(error)
            if await settled_within(self._clock, self._ended, wait):
                return

    async def _look(self) -> None:
        if not self._is_prepared:
            await self._prepare()
        if self._options.relay:
            self._known.relays = await self.relay.beat()
        else:
            self._known.relays = await self._store.leasing.live_relays()
        self._known.waiting = await self._store.measuring.waiting()
        self._known.looked_at = seconds()
        self.database.answered()
        if self._options.keep is not None:
            await self._clean_up(self._options.keep.total_seconds())

    async def _clean_up(self, keep_seconds: float) -> None:
        """Some at a time, and not so often that the next beat would be late."""
        for _ in range(CLEANINGS_A_BEAT):
            if await self._store.measuring.clean_up(keep_seconds) < CLEANED_AT_ONCE:
                return

    async def _prepare(self) -> None:
        async with self._engine.connect() as connection:
            await connection.run_sync(check, self._tables)
        await self._store.leasing.prepare()
        self._is_prepared = True

    async def _has_any(self) -> bool:
        self._known.waiting = await self._store.measuring.waiting()
        self._known.looked_at = seconds()
        return bool(self._known.waiting.pending)

    def _is_in_use(self) -> bool:
        """Whether somebody's transaction is open on the only connection, which even a look would end."""
        if not self._is_shared:
            return False
        record: Any = getattr(self._engine.sync_engine.pool, "connection", None)
        return bool(getattr(getattr(record, "driver_connection", None), "in_transaction", False))

    def _refuse(self, reason: str) -> None:
        self._known.refused = reason
        reports.outbox_refused(reason)

    def _poll_seconds(self) -> float:
        poll = self._options.poll_seconds
        # Each look costs a server something, and a file of SQLite next to nothing.
        is_dear = self._waking.is_heard or self._engine.dialect.name in MYSQL
        return poll if is_dear else min(UNHEARD_POLL_SECONDS, poll)

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = later(work, name)
        task.add_done_callback(say_why_it_ended)
        self._tasks.append(task)


_BEATING, _RELAYING = "outbox: beating", "outbox: relaying"

_SHARED = (
    "its engine has one connection for all, as SQLite in memory has, so the relay would commit what "
    "others have begun: use a file, or `bus.test()`"
)
