"""What a relay writes about rows: delivered, held back with their topic, put back, or set aside.

Whoever has published a row may delete it, whoever holds its lane now. Every other change of a row's
state is made under the lock of the lane's lease, and only while the lane is this relay's: a relay that
was frozen must not touch what another one looks after.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, any_, bindparam, delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine

from convex_messaging_fastapi.outbox.leases import Claim
from convex_messaging_fastapi.outbox.store.dialects import Words, is_in
from convex_messaging_fastapi.outbox.store.leasing import Leasing
from convex_messaging_fastapi.outbox.tables import DELIVERED, DUE, HELD, PARKED, MessagingTables, utc_now

_IDS_A_STATEMENT = 1_000

ERROR_CHARS = 1_000


class Settling:
    """Changes rows of the outbox. With `keeps`, rows that were delivered stay for a while."""

    def __init__(
        self, engine: AsyncEngine, tables: MessagingTables, words: Words, leasing: Leasing, *, keeps: bool
    ) -> None:
        self._engine = engine
        self._rows = tables.outbox
        self._lease = tables.lease
        self._words = words
        self._leasing = leasing
        self._keeps = keeps

    async def delivered(self, ids: Sequence[int]) -> None:
        """These were acknowledged: they are no longer to be published."""
        rest = iter(ids)
        async with self._engine.begin() as connection:
            while some := list(islice(rest, _IDS_A_STATEMENT)):
                which = self._one_of(some)
                if self._keeps:
                    done = {"state": DELIVERED, "settled_at": utc_now(), "error": None}
                    await connection.execute(update(self._rows).where(which).values(done))
                else:
                    await connection.execute(delete(self._rows).where(which))

    async def hold(self, claims: Collection[Claim], topic: str, error: str) -> frozenset[int]:
        """Set the due rows of a topic aside until it can be written; returns the lanes still ours."""
        row = self._rows.c
        which = is_in(row.state, DUE), row.topic == self._words.written(topic)
        return await self._change(claims, which, {"state": HELD, "error": error[:ERROR_CHARS]})

    async def reopen(self, claims: Collection[Claim], topic: str) -> frozenset[int]:
        """Put the held rows of a topic back; returns the lanes that are still ours."""
        row = self._rows.c
        which = is_in(row.state, HELD), row.topic == self._words.written(topic)
        return await self._change(claims, which, {"state": DUE, "error": None})

    async def park(self, claims: Collection[Claim], errors: Mapping[int, str]) -> None:
        """Set rows of these lanes aside for a person, each with its error."""
        row = self._rows.c
        for id, error in errors.items():
            values = {"state": PARKED, "settled_at": utc_now(), "error": error[:ERROR_CHARS]}
            await self._change(claims, (row.id == id, row.state.in_((DUE, HELD))), values)

    async def _change(
        self, claims: Collection[Claim], which: Sequence[ColumnElement[bool]], values: Mapping[str, Any]
    ) -> frozenset[int]:
        """Change rows of the lanes that are still ours, and return these.

        They stay ours until the transaction ends; the change itself looks once more.
        """
        async with self._engine.begin() as connection:
            ours = [claim for claim in sorted(claims) if await self._leasing.is_held(connection, claim)]
            if ours:
                in_lanes = or_(*(self._in_lane(claim) for claim in ours))
                await connection.execute(update(self._rows).where(*which, in_lanes).values(dict(values)))
        return frozenset(claim.lane for claim in ours)

    def _in_lane(self, claim: Claim) -> ColumnElement[bool]:
        held = exists(select(self._lease.c.name).where(*self._leasing.held(claim)))
        return and_(self._rows.c.lane == claim.lane, held)

    def _one_of(self, ids: Sequence[int]) -> ColumnElement[bool]:
        if self._words.is_postgresql:  # one plan, however many there are
            return self._rows.c.id == any_(bindparam(None, ids, type_=ARRAY(BigInteger), unique=True))
        return self._rows.c.id.in_(ids)
