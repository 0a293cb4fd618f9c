"""Sends the rows of one topic, and writes into the database what became of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.clock import Clock, sleep
from convex_messaging_fastapi.errors import PublishError
from convex_messaging_fastapi.outbox.contacts import DatabaseContact
from convex_messaging_fastapi.outbox.holding import Holding
from convex_messaging_fastapi.outbox.leases import Claim, Lanes, LeaseTerms
from convex_messaging_fastapi.outbox.sorting import Sorted, ready, sort, told
from convex_messaging_fastapi.outbox.store import Fetched, Store
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecords


class Outlet(Protocol):
    """Where a relay publishes to."""

    def in_contact(self) -> bool:
        """Whether the cluster answers at all; without it nobody knows anything about a topic."""
        ...

    async def publish(
        self, topic: str, records: OutgoingRecords, timeout: float
    ) -> Sequence[Receipt | PublishError]:
        """What became of each; none is acknowledged after one of its partition that was not."""
        ...


@dataclass(slots=True)
class Counts:
    """What a relay has done since it started. `repeats_possible` are rows whose end was not written."""

    published: int = 0
    parked: int = 0
    repeats_possible: int = 0


class Sender:
    """Sends rows under the leases of their lanes, and settles each by its outcome."""

    def __init__(
        self,
        store: Store,
        outlet: Outlet,
        lanes: Lanes,
        holding: Holding,
        terms: LeaseTerms,
        database: DatabaseContact,
        clock: Clock,
        now: Callable[[], float],
    ) -> None:
        self._store, self._outlet, self._database = store, outlet, database
        self._lanes, self._holding, self._terms = lanes, holding, terms
        self._clock, self._now = clock, now
        self.counts: Counts = Counts()

    async def send(self, topic: str, rows: Sequence[Fetched], claims: Collection[Claim]) -> None:
        """Send rows of one topic, which are those of these lanes; hold the topic if it takes none."""
        outcome = await self._sent(topic, rows, claims)
        if outcome is not None and outcome.trouble is not None and self._outlet.in_contact():
            error = told(outcome.trouble)
            if self._holding.hold(topic, error, self._now()):
                reports.outbox_holds(topic, error)

    async def try_again(self, topic: str) -> bool:
        """Send the first row of a topic that is held; whether the topic is to be opened."""
        lanes = self._lanes.sendable(self._now()) & frozenset(self._holding.lanes(topic))
        row = await self._store.fetching.first_held(lanes, topic) if lanes else None
        if row is None:
            if lanes or not self._holding.lanes(topic):
                return True  # nothing waits in lanes of ours
            self._holding.not_tried(topic, self._now())
            return False
        token = self._lanes.tokens.get(row.lane)
        outcome = None if token is None else await self._sent(topic, [row], [Claim(row.lane, token)])
        if outcome is not None and outcome.delivered:
            return True
        if outcome is not None and outcome.trouble is not None and self._outlet.in_contact():
            self._holding.failed(topic, told(outcome.trouble), self._now())
        else:
            self._holding.not_tried(topic, self._now())
        return False

    async def _sent(self, topic: str, rows: Sequence[Fetched], claims: Collection[Claim]) -> Sorted | None:
        """What became of the rows, once that is written down; `None` if no time was left to send them."""
        found = ready(rows)
        left = self._lanes.time_left({claim.lane for claim in claims}, self._now())
        if left < self._terms.least_left:
            return None
        outcomes = await self._outlet.publish(topic, found.listed(), left)
        outcome = sort(found.rows, outcomes)
        outcome.parked.update(found.broken)
        self.counts.published += len(outcome.delivered)
        await self._write_down(outcome.delivered, outcome.parked, claims)
        if outcome.parked:
            self.counts.parked += len(outcome.parked)
            reports.outbox_parks(topic, len(outcome.parked), next(iter(outcome.parked.values())))
        return outcome

    async def _write_down(
        self, delivered: Sequence[int], parked: Mapping[int, str], claims: Collection[Claim]
    ) -> None:
        """Not done before it is written: what was published and stays due would be published again."""
        is_written = not delivered
        try:
            while not is_written:
                try:
                    await self._store.settling.delivered(delivered)
                    is_written = True
                except Exception as error:  # noqa: BLE001 - whatever it is, the rows were published
                    await sleep(self._clock, self._database.failed(error))
            if parked:
                await self._store.settling.park(claims, parked)
        finally:
            if not is_written:
                self.counts.repeats_possible += len(delivered)
