"""The leases of lanes in the database: who holds which, and until when."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, func, insert, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from convex_messaging_fastapi.outbox.leases import Claim, too_few
from convex_messaging_fastapi.outbox.store.dialects import Words
from convex_messaging_fastapi.outbox.tables import LANES, MessagingTables

_LANE = "lane:"
_RELAY = "relay:"
_ALL_LANES = tuple(f"{_LANE}{lane:02}" for lane in range(LANES))


@dataclass(frozen=True, slots=True)
class Beat:
    """What the database said: how many relays live, and which lanes are this one's."""

    live: int
    claims: Sequence[Claim]


class Leasing:
    """Lets relays share the lanes. `owner` is this relay's name, which no other has."""

    def __init__(self, engine: AsyncEngine, tables: MessagingTables, words: Words, owner: str) -> None:
        self._engine = engine
        self._lease = tables.lease
        self._words = words
        self._owner = words.written(owner)
        self._relay = words.written(f"{_RELAY}{owner}")

    async def prepare(self) -> None:
        """Put the lanes into the table, unless they are there."""
        rows = [
            {"name": self._words.written(name), "token": 0, "until": self._words.long_ago()}
            for name in _ALL_LANES
        ]
        async with self._engine.begin() as connection:
            await connection.execute(self._insert_new(rows))

    async def beat(self, lease_seconds: float) -> Beat:
        """Say that this relay lives, renew its lanes, and take more if it has fewer than its share.

        Two relays never wait for each other: each locks what is its own, or what is nobody's.
        """
        async with self._engine.begin() as connection:
            await self._live_on(connection, lease_seconds)
            live = await self._count_live(connection)
            mine = await self._renew(connection, lease_seconds)
            taken = await self._take(connection, lease_seconds, too_few(len(mine), live))
        return Beat(live, (*mine, *taken))

    async def give_back(self, claims: Iterable[Claim]) -> None:
        """Let others take these lanes at once. They must not be held in memory any more."""
        async with self._engine.begin() as connection:
            for claim in claims:
                await connection.execute(
                    update(self._lease).where(*self.held(claim)).values(until=self._words.long_ago())
                )

    async def leave(self) -> None:
        """Be counted no longer, so that the others take a greater share with their next beat."""
        row = self._lease
        async with self._engine.begin() as connection:
            await connection.execute(row.delete().where(row.c.name == self._relay))

    async def live_relays(self) -> int:
        """How many relays live, for those who are none."""
        async with self._engine.connect() as connection:
            return await self._count_live(connection)

    async def is_held(self, connection: AsyncConnection, claim: Claim) -> bool:
        """Whether a lane is still this relay's; if so, it stays that until the transaction ends.

        It writes, and so takes the lock of the row on every database.
        """
        row = self._lease
        result = await connection.execute(update(row).where(*self.held(claim)).values(token=row.c.token))
        return bool(result.rowcount)

    def held(self, claim: Claim) -> Sequence[Any]:
        """The condition that the lease of a lane is this relay's, with this token."""
        row = self._lease.c
        name = self._words.written(_ALL_LANES[claim.lane])
        return row.name == name, row.owner == self._owner, row.token == claim.token

    async def _live_on(self, connection: AsyncConnection, lease_seconds: float) -> None:
        # The first statement writes: SQLite then has no older view of what the next ones read.
        until = self._words.later(lease_seconds)
        mine = self._lease.c.name == self._relay
        result: CursorResult[Any] = await connection.execute(
            update(self._lease).where(mine).values(until=until)
        )
        if not result.rowcount:
            new = {"name": self._relay, "owner": self._owner, "token": 0, "until": until}
            await connection.execute(insert(self._lease).values(new))
            await self._forget_dead(connection, 10 * lease_seconds)

    async def _forget_dead(self, connection: AsyncConnection, seconds: float) -> None:
        """Take out relays that ended so long ago. Only what nobody else has locked: relays must not wait."""
        row = self._lease
        dead = self._is_relay() & (row.c.until < self._words.later(-seconds))
        if found := await self._locked(connection, [dead], None):
            names = [self._words.written(name) for name, _ in found]
            await connection.execute(row.delete().where(row.c.name.in_(names)))

    async def _count_live(self, connection: AsyncConnection) -> int:
        row = self._lease
        asked = select(func.count()).select_from(row).where(self._is_relay(), row.c.until > self._words.now())
        return int(await connection.scalar(asked) or 0)

    async def _renew(self, connection: AsyncConnection, lease_seconds: float) -> list[Claim]:
        row = self._lease
        mine = self._is_lane(), row.c.owner == self._owner, row.c.until > self._words.now()
        found = await self._locked(connection, mine, None)
        return await self._write(connection, found, {"until": self._words.later(lease_seconds)}, 0)

    async def _take(self, connection: AsyncConnection, lease_seconds: float, wanted: int) -> list[Claim]:
        if not wanted:
            return []
        row = self._lease
        free = self._is_lane(), row.c.until <= self._words.now()
        found = await self._locked(connection, free, wanted)
        values = {
            "owner": self._owner,
            "token": row.c.token + 1,
            "until": self._words.later(lease_seconds),
        }
        return await self._write(connection, found, values, 1)

    async def _locked(
        self, connection: AsyncConnection, which: Collection[Any], limit: int | None
    ) -> list[tuple[str, int]]:
        row = self._lease.c
        asked = select(row.name, row.token).where(*which).order_by(row.name).limit(limit)
        # SQLite ignores it: who writes there is alone.
        rows = await connection.execute(asked.with_for_update(skip_locked=True))
        return [(self._words.read(name), token) for name, token in rows]

    async def _write(
        self, connection: AsyncConnection, found: list[tuple[str, int]], values: dict[str, Any], raised: int
    ) -> list[Claim]:
        if found:
            names = [self._words.written(name) for name, _ in found]
            await connection.execute(update(self._lease).where(self._lease.c.name.in_(names)).values(values))
        return [Claim(_ALL_LANES.index(name), token + raised) for name, token in found]

    def _is_lane(self) -> Any:
        return self._lease.c.name.in_([self._words.written(name) for name in _ALL_LANES])

    def _is_relay(self) -> Any:
        # `;` follows `:`, so that these are all names that begin with it, for an index of any collation.
        name, words = self._lease.c.name, self._words
        return (name >= words.written(_RELAY)) & (name < words.written("relay;"))

    def _insert_new(self, rows: list[dict[str, Any]]) -> Any:
        if self._words.is_mysql:
            new = mysql.insert(self._lease).values(rows)
            return new.on_duplicate_key_update(token=self._lease.c.token)
        dialect: Any = postgresql if self._words.is_postgresql else sqlite
        return dialect.insert(self._lease).values(rows).on_conflict_do_nothing()
