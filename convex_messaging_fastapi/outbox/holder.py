"""Holds the lanes of a relay: renews them, gives some back, and knows which have rows under way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from convex_messaging_fastapi.outbox.contacts import DatabaseContact
from convex_messaging_fastapi.outbox.holding import Holding
from convex_messaging_fastapi.outbox.leases import Claim, Lanes, LeaseTerms, surplus
from convex_messaging_fastapi.outbox.store import Store
from convex_messaging_fastapi.tasks import cancelled, later


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


class Background:
    """Tasks that go on beside the turns of a relay, until it is to end."""

    def __init__(self) -> None:
        self.is_ending: bool = False
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = later(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ended(self) -> None:
        """Return once none goes on any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        await cancelled(*self._tasks)


class LaneHolder:
    """The lanes of one relay, and what it knows of them. `now` goes on while the machine is suspended."""

    def __init__(
        self,
        store: Store,
        terms: LeaseTerms,
        holding: Holding,
        background: Background,
        database: DatabaseContact,
        now: Callable[[], float],
    ) -> None:
        self._store, self._terms, self._holding = store, terms, holding
        self._background, self._now = background, now
        self.database: DatabaseContact = database
        self.lanes: Lanes = Lanes(terms)
        self.busy: Busy = Busy()
        self._unseen: set[int] = set()  # lanes that may hold back topics of another relay's
        self._leaving: set[int] = set()

    async def beat(self) -> int:
        """Renew the lanes, take more or give some back; returns how many relays live."""
        asked_at, leaving = self._now(), frozenset(self._leaving)
        beat = await self._store.leasing.beat(self._terms.lease)
        self.database.answered()
        # One that was given back since then may be another's, although the answer names it.
        ours = [claim for claim in beat.claims if claim.lane not in leaving | self._leaving]
        self._unseen |= self.lanes.take_in(ours, asked_at)
        self.forget_expired()
        if too_many := surplus(self.lanes.tokens, beat.live):
            claims = self.let_go(too_many)
            self._leaving.update(too_many)
            self._background.begin(self._give_back(claims), "outbox: giving lanes back")
        return beat.live

    async def look_for_held(self) -> None:
        """Take over the topics that others have held back in lanes that are ours now."""
        if lanes := self._unseen & self.lanes.tokens.keys():
            for lane, topic in await self._store.fetching.held_topics(lanes):
                self._holding.take_over(topic, lane, self._now())
        self._unseen -= lanes

    def forget_expired(self) -> None:
        self._holding.lose(claim.lane for claim in self.lanes.let_go_expired(self._now()))

    def let_go(self, lanes: Iterable[int]) -> Sequence[Claim]:
        """Hold them no longer; what is returned is to be given back."""
        claims = self.lanes.let_go(lanes)
        self._holding.lose(claim.lane for claim in claims)
        return claims

    def claims(self, lanes: Iterable[int]) -> list[Claim]:
        """Those of them that are held."""
        return [Claim(lane, self.lanes.tokens[lane]) for lane in lanes if lane in self.lanes.tokens]

    async def leave(self, claims: Sequence[Claim]) -> None:
        try:
            await self._store.leasing.give_back(claims)
            await self._store.leasing.leave()
        except Exception as error:  # noqa: BLE001 - the leases end by themselves
            self.database.failed(error)

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        """Nothing of these lanes is held in memory any more; what is under way is waited for."""
        lanes = [claim.lane for claim in claims]
        try:
            await self.busy.freed(lanes)
            await self._store.leasing.give_back(claims)
        except Exception as error:  # noqa: BLE001 - they are renewed with the next beat, and given back then
            self.database.failed(error)
        finally:
            self._leaving.difference_update(lanes)
