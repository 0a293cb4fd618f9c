"""The relay: publishes the rows of the lanes that it holds, in order, and takes out what was acknowledged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, settled_within, sleep
from convex_messaging_fastapi.outbox.contacts import DatabaseContact
from convex_messaging_fastapi.outbox.holding import Holding
from convex_messaging_fastapi.outbox.leases import Claim, Lanes, LeaseTerms, surplus
from convex_messaging_fastapi.outbox.sending import Counts, Outlet, Sender
from convex_messaging_fastapi.outbox.sorting import by_topic, fairly
from convex_messaging_fastapi.outbox.store import Fetched, Store
from convex_messaging_fastapi.outbox.tables import LANES
from convex_messaging_fastapi.tasks import cancelled, later

LOOK_SECONDS = 0.1
"""How often it is looked whether the cluster answers again; that costs no I/O."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a relay takes at once, and after how many seconds it looks although nobody has woken it."""

    batch: int = 1_000
    batch_bytes: int = 16 * 1024 * 1024
    poll_seconds: Callable[[], float] = lambda: 1.0


class Busy:
    """The lanes that have rows under way. Nothing more of such a lane is fetched."""

    def __init__(self) -> None:
        self._sends: Counter[int] = Counter()
        self._free: dict[int, asyncio.Event] = {}
        self.rows: int = 0

    @property
    def lanes(self) -> frozenset[int]:
        return frozenset(self._sends)

    def add(self, lanes: Iterable[int], rows: int) -> None:
        self._sends.update(lanes)
        self.rows += rows

    def remove(self, lanes: Iterable[int], rows: int) -> None:
        self.rows -= rows
        for lane in lanes:
            self._sends[lane] -= 1
            if not self._sends[lane]:
                del self._sends[lane]
                if (free := self._free.pop(lane, None)) is not None:
                    free.set()

    async def freed(self, lanes: Iterable[int]) -> None:
        """Return once nothing of these is under way."""
        for lane in lanes:
            while lane in self._sends:
                await self._free.setdefault(lane, asyncio.Event()).wait()


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
        self._store, self._outlet, self._terms, self._pace = store, outlet, terms, pace
        self._clock, self._now = clock, now
        self.lanes: Lanes = Lanes(terms)
        self.holding: Holding = Holding(random)
        self.database: DatabaseContact = DatabaseContact(now)
        self._sender = Sender(store, outlet, self.lanes, self.holding, terms, self.database, clock, now)
        self._busy = Busy()
        self._looks_at = LANES  # how many lanes had rows the last time
        self._unseen: set[int] = set()  # lanes that may hold back topics of another relay's
        self._leaving: set[int] = set()
        self._opening: set[str] = set()
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def counts(self) -> Counts:
        return self._sender.counts

    def wake(self) -> None:
        """There may be rows. Only on the loop of the relay."""
        self._woken.set()

    async def work(self) -> None:
        """Publish until this is cancelled. `beat` must be called meanwhile."""
        while True:
            self._woken.clear()
            try:
                goes_on = await self.turn()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed
                await sleep(self._clock, self.database.failed(error))
                continue
            if not goes_on:
                await self._rest()

    async def beat(self) -> int:
        """Renew the lanes, take more or give some back; returns how many relays live."""
        asked_at, leaving = self._now(), frozenset(self._leaving)
        beat = await self._store.leasing.beat(self._terms.lease)
        self.database.answered()
        # One that was given back since then may be another's, although the answer names it.
        ours = [claim for claim in beat.claims if claim.lane not in leaving | self._leaving]
        self._unseen |= self.lanes.take_in(ours, asked_at)
        self._forget_expired()
        if too_many := surplus(self.lanes.tokens, beat.live):
            claims = self._let_go(too_many)
            self._leaving.update(too_many)
            self._begin(self._give_back(claims), "outbox: giving lanes back")
        self.wake()
        return beat.live

    async def turn(self) -> bool:
        """Take the next rows and begin to send them; whether there were any."""
        self._forget_expired()
        if not self._outlet.in_contact():
            return False
        await self._look_for_held()
        await self._reopen()
        for topic in self.holding.due(self._now()):
            self._begin(self._try_again(topic), f"outbox: trying {topic}")
        lanes = self.lanes.sendable(self._now()) - self._busy.lanes
        room = self._pace.batch - self._busy.rows
        if not lanes or room <= 0:
            return False
        tokens = {lane: self.lanes.tokens[lane] for lane in lanes}
        share = max(1, room // max(1, min(self._looks_at, len(lanes))))
        rows = await self._store.fetching.due(lanes, share, room, self._pace.batch_bytes)
        self.database.answered()
        if not rows:
            return False
        self._looks_at = len({row.lane for row in rows})
        await self._deal_with(self._still_ours(rows, tokens), tokens, room)
        return True

    async def settled(self) -> None:
        """Return once nothing is under way any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self, seconds: float) -> None:
        """Wait for what is under way, and give the lanes to the other relays, within `seconds`.

        `work` and `beat` must have ended.
        """
        ends_at = self._clock.now() + seconds
        waits = asyncio.ensure_future(self.settled())
        await settled_within(self._clock, waits, seconds * 0.8)
        await cancelled(*self._tasks, waits)
        if self.counts.repeats_possible:
            reports.outbox_late(self.counts.repeats_possible)
        claims = self._let_go(list(self.lanes.tokens))
        leaving = asyncio.ensure_future(self._leave(claims))
        if not await settled_within(self._clock, leaving, ends_at - self._clock.now()):
            await cancelled(leaving)

    async def _leave(self, claims: Sequence[Claim]) -> None:
        try:
            await self._store.leasing.give_back(claims)
            await self._store.leasing.leave()
        except Exception as error:  # noqa: BLE001 - the leases end by themselves
            self.database.failed(error)

    # -- one turn ------------------------------------------------------------------------------

    async def _look_for_held(self) -> None:
        """Take over the topics that others have held back in lanes that are ours now."""
        if lanes := self._unseen & self.lanes.tokens.keys():
            for lane, topic in await self._store.fetching.held_topics(lanes):
                self.holding.take_over(topic, lane, self._now())
        self._unseen -= lanes

    async def _reopen(self) -> None:
        """Put back the rows of topics that can be written to. Only then may newer rows of them be sent."""
        for topic in sorted(self._opening):
            claims = self._claims(self.holding.lanes(topic))
            await self._store.settling.reopen(claims, topic)
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
                self._busy.add(lanes, len(its_rows))
                self._begin(self._send(topic, its_rows, claims), f"outbox: sending to {topic}")

    def _still_ours(self, rows: Sequence[Fetched], tokens: Mapping[int, int]) -> Sequence[Fetched]:
        """Without those of lanes that were lost while they were read."""
        sendable, now = self.lanes.sendable(self._now()), self.lanes.tokens
        return [row for row in rows if row.lane in sendable and now[row.lane] == tokens[row.lane]]

    async def _set_aside(self, topic: str, lanes: Collection[int], tokens: Mapping[int, int]) -> None:
        claims = [Claim(lane, tokens[lane]) for lane in lanes]
        held = await self._store.settling.hold(claims, topic, self.holding.error(topic))
        self.holding.set_aside(topic, held & self.lanes.tokens.keys())

    # -- what goes on beside the turns ---------------------------------------------------------

    async def _send(self, topic: str, rows: Sequence[Fetched], claims: Sequence[Claim]) -> None:
        try:
            await self._sender.send(topic, rows, claims)
        finally:
            self._busy.remove([claim.lane for claim in claims], len(rows))
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

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        """Nothing of these lanes is held in memory any more; what is under way is waited for."""
        lanes = [claim.lane for claim in claims]
        try:
            await self._busy.freed(lanes)
            await self._store.leasing.give_back(claims)
        except Exception as error:  # noqa: BLE001 - they are renewed with the next beat, and given back then
            self.database.failed(error)
        finally:
            self._leaving.difference_update(lanes)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = later(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _rest(self) -> None:
        """Wait until somebody wakes the relay, or it is time to look again."""
        seconds = self._pace.poll_seconds() if self._outlet.in_contact() else LOOK_SECONDS
        if (next_try := self.holding.next_try()) is not None:
            seconds = min(seconds, max(0.0, next_try - self._now()))
        timer = self._clock.look_later(seconds, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()

    def _forget_expired(self) -> None:
        self.holding.lose(claim.lane for claim in self.lanes.let_go_expired(self._now()))

    def _let_go(self, lanes: Iterable[int]) -> Sequence[Claim]:
        claims = self.lanes.let_go(lanes)
        self.holding.lose(claim.lane for claim in claims)
        return claims

    def _claims(self, lanes: Iterable[int]) -> list[Claim]:
        return [Claim(lane, self.lanes.tokens[lane]) for lane in lanes if lane in self.lanes.tokens]
