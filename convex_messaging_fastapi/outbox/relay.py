"""The relay: publishes the rows of the lanes that it holds, in order, and takes out what was acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, settled_within
from convex_messaging_fastapi.outbox.contacts import DatabaseContact
from convex_messaging_fastapi.outbox.holder import Background, LaneHolder
from convex_messaging_fastapi.outbox.holding import Holding
from convex_messaging_fastapi.outbox.leases import Claim, Lanes, LeaseTerms
from convex_messaging_fastapi.outbox.sending import Counts, Outlet, Sender
from convex_messaging_fastapi.outbox.sorting import by_topic, fairly
from convex_messaging_fastapi.outbox.store import Fetched, Store
from convex_messaging_fastapi.outbox.tables import LANES
from convex_messaging_fastapi.tasks import cancelled

LOOK_SECONDS = 0.1
"""How often it is looked whether the cluster answers again; that costs no I/O."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a relay takes at once, and after how many seconds it looks although nobody has woken it."""

    batch: int = 1_000
    batch_bytes: int = 16 * 1024 * 1024
    poll_seconds: Callable[[], float] = lambda: 1.0


class Relay:
    """Publishes the rows of an outbox, beside other relays of the same outbox.

    `now` tells seconds that go on while the machine is suspended. A relay cannot be started again.
    """

    def __init__(
        self,
        store: Store,
        outlet: Outlet,
        terms: LeaseTerms,
        pace: Pace,
        clock: Clock,
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._store, self._outlet, self._pace = store, outlet, pace
        self._clock, self._now = clock, now
        self.holding: Holding = Holding(random)
        self._background = Background()
        database = DatabaseContact(now)
        self._holder = LaneHolder(store, terms, self.holding, self._background, database, now)
        self._sender = Sender(store, outlet, self.lanes, self.holding, terms, database, clock, now)
        self._looks_at = LANES  # how many lanes had rows the last time
        self._opening: set[str] = set()
        self._woken = asyncio.Event()

    @property
    def lanes(self) -> Lanes:
        return self._holder.lanes

    @property
    def database(self) -> DatabaseContact:
        return self._holder.database

    @property
    def counts(self) -> Counts:
        return self._sender.counts

    def wake(self) -> None:
        """There may be rows. Only on the loop of the relay."""
        self._woken.set()

    def end(self) -> None:
        """Let `work` return, between two questions to the database: what is cancelled there leaves litter."""
        self._background.is_ending = True
        self.wake()

    async def work(self) -> None:
        """Publish until `end` is called. `beat` must be called meanwhile."""
        while not self._background.is_ending:
            self._woken.clear()
            try:
                if not await self.turn():
                    await self._rest(self._until_next_look())
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed
                await self._rest(self.database.failed(error))

    async def beat(self) -> int:
        """Renew the lanes, take more or give some back; returns how many relays live."""
        live = await self._holder.beat()
        await self._store.floors.rise(dict(self.lanes.tokens))
        self.wake()
        return live

    async def turn(self) -> bool:
        """Take the next rows and begin to send them; whether there were any."""
        self._holder.forget_expired()
        if not self._outlet.in_contact():
            return False
        await self._holder.look_for_held()
        await self._reopen()
        for topic in self.holding.due(self._now()):
            self._background.begin(self._try_again(topic), f"outbox: trying {topic}")
        busy = self._holder.busy
        lanes = self.lanes.sendable(self._now()) - busy.lanes
        room = self._pace.batch - busy.rows
        if not lanes or room <= 0:
            return False
        tokens = {lane: self.lanes.tokens[lane] for lane in lanes}
        share = max(1, room // max(1, min(self._looks_at, len(lanes))))
        floors = self._store.floors.of(tokens)
        rows = await self._store.fetching.due(lanes, share, room, self._pace.batch_bytes, floors)
        self.database.answered()
        if not rows:
            return False
        self._looks_at = len({row.lane for row in rows})
        self._store.floors.saw(rows[-1].id)
        await self._deal_with(self._still_ours(rows, tokens), tokens, room)
        return True

    async def settled(self) -> None:
        """Return once nothing is under way any more."""
        await self._background.ended()

    async def stop(self, seconds: float) -> None:
        """Wait for what is under way, and give the lanes to the other relays, within `seconds`.

        `work` and `beat` must have ended.
        """
        ends_at = self._clock.now() + seconds
        waits = asyncio.ensure_future(self.settled())
        await settled_within(self._clock, waits, seconds * 0.8)
        await self._background.cancel()
        await cancelled(waits)
        if self.counts.repeats_possible:
            reports.outbox_late(self.counts.repeats_possible)
        claims = self._holder.let_go(list(self.lanes.tokens))
        leaving = asyncio.ensure_future(self._holder.leave(claims))
        if not await settled_within(self._clock, leaving, ends_at - self._clock.now()):
            await cancelled(leaving)

    async def _reopen(self) -> None:
        """Put back the rows of topics that can be written to. Only then may newer rows of them be sent."""
        for topic in sorted(self._opening):
            claims = self._holder.claims(self.holding.lanes(topic))
            try:
                await self._store.settling.reopen(claims, topic)
            finally:  # an error may come although the rows were put back
                self._store.floors.forget([claim.lane for claim in claims])
            self._opening.discard(topic)
            self.holding.open(topic)
            reports.outbox_opens(topic)

    async def _deal_with(self, rows: Sequence[Fetched], tokens: Mapping[int, int], room: int) -> None:
        topics = by_topic(fairly(rows, room))
        for topic in topics.keys() & self.holding.topics.keys():
            await self._set_aside(topic, {row.lane for row in topics[topic]}, tokens)
        for topic, its_rows in topics.items():
            if topic not in self.holding:
                lanes = {row.lane for row in its_rows}
                claims = [Claim(lane, tokens[lane]) for lane in lanes]
                self._holder.busy.add(lanes, len(its_rows))
                self._background.begin(self._send(topic, its_rows, claims), f"outbox: sending to {topic}")

    def _still_ours(self, rows: Sequence[Fetched], tokens: Mapping[int, int]) -> Sequence[Fetched]:
        """Without those of lanes that were lost while they were read."""
        sendable, now = self.lanes.sendable(self._now()), self.lanes.tokens
        return [row for row in rows if row.lane in sendable and now[row.lane] == tokens[row.lane]]

    async def _set_aside(self, topic: str, lanes: Collection[int], tokens: Mapping[int, int]) -> None:
        claims = [Claim(lane, tokens[lane]) for lane in lanes]
        held = await self._store.settling.hold(claims, topic, self.holding.error(topic))
        self.holding.set_aside(topic, held & self.lanes.tokens.keys())

    async def _send(self, topic: str, rows: Sequence[Fetched], claims: Sequence[Claim]) -> None:
        try:
            await self._sender.send(topic, rows, claims)
        finally:
            self._holder.busy.remove([claim.lane for claim in claims], len(rows))
            self.wake()

    async def _try_again(self, topic: str) -> None:
        try:
            if await self._sender.try_again(topic):
                self._opening.add(topic)
        except Exception as error:  # noqa: BLE001 - the database's, as in a turn
            self.database.failed(error)
            self.holding.not_tried(topic, self._now())
        finally:
            self.wake()

    def _until_next_look(self) -> float:
        seconds = self._pace.poll_seconds() if self._outlet.in_contact() else LOOK_SECONDS
        if (next_try := self.holding.next_try()) is not None:
            seconds = min(seconds, max(0.0, next_try - self._now()))
        return seconds

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until somebody wakes the relay."""
        if self._background.is_ending:
            return
        timer = self._clock.look_later(seconds, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()
