"""Writers whose transactions overlap, and what must come of them: each key's numbers, all, in order."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from sqlalchemy import String, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from convex_messaging_fastapi.outbox import MessagingTables, Outbox
from tests.support.independent import Seen

TOPIC = "moved"
KEYS = [f"account {number}" for number in range(8)]
WRITERS = 12
ROLLED_BACK = 0.05
AGAIN_SECONDS = 0.05


class Base(DeclarativeBase):
    pass


class Account(Base):
    """An aggregate: who changes it locks its row, and numbers what it publishes."""

    __tablename__ = "accounts"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int]


tables = MessagingTables(Base.metadata)


async def prepare(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(Account(name=key, number=0) for key in KEYS)


@dataclass
class Load:
    """`count` transactions by several writers at once; every twentieth is rolled back.

    A writer whose database is away goes on when it is back.
    """

    engine: AsyncEngine
    outbox: Outbox
    count: int
    seed: int
    _left: int = field(init=False)

    async def run(self) -> None:
        self._left = self.count
        async with asyncio.TaskGroup() as writers:
            for number in range(WRITERS):
                writers.create_task(self._write(random.Random(f"{self.seed} {number}")))

    async def _write(self, chance: random.Random) -> None:
        while self._left > 0:
            try:
                await self._change(chance)
                self._left -= 1
            except (DBAPIError, OSError):  # what was committed nevertheless, the table of accounts knows
                await asyncio.sleep(AGAIN_SECONDS)  # simulates work of a service whose database is away

    async def _change(self, chance: random.Random) -> None:
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            account = await session.get_one(Account, chance.choice(KEYS), with_for_update=True)
            account.number += 1
            message = {"key": account.name, "number": account.number}
            await self.outbox.publish(session, TOPIC, message, key=account.name)
            if chance.random() < ROLLED_BACK:
                await session.rollback()
            else:
                await session.commit()


async def committed(engine: AsyncEngine) -> Mapping[str, int]:
    """The last number of each account."""
    async with AsyncSession(engine) as session:
        return {each.name: each.number for each in await session.scalars(select(Account))}


async def waiting(engine: AsyncEngine) -> int:
    """How many rows are in the outbox."""
    async with engine.connect() as connection:
        found = await connection.execute(select(func.count()).select_from(tables.outbox))
        return found.scalar_one()


@dataclass(frozen=True)
class Arrived:
    """What became of the messages: how many are lost, came again, and came first in the wrong order."""

    lost: int
    repeats: int
    out_of_order: int
    records: int

    @property
    def is_perfect(self) -> bool:
        return not (self.lost or self.out_of_order)


def judged(expected: Mapping[str, int], arrived: Iterable[tuple[str, int]]) -> Arrived:
    """`arrived` are keys and numbers, those of one key in the order of arrival."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for key, number in arrived:
        numbers[key].append(number)
    lost = repeats = out_of_order = records = 0
    for key, last in expected.items():
        seen = numbers[key]
        firsts = list(dict.fromkeys(seen))
        records += len(seen)
        repeats += len(seen) - len(firsts)
        lost += len(set(range(1, last + 1)) - set(firsts))
        out_of_order += sum(later < earlier for earlier, later in pairwise(firsts))
    return Arrived(lost, repeats, out_of_order, records)


def of_records(records: Iterable[Seen]) -> Iterable[tuple[str, int]]:
    for record in records:
        assert record.value is not None
        told = json.loads(record.value)
        yield told["key"], told["number"]
