"""What a bus counts where handlers have an inbox, and what becomes of messages when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from convex_messaging_fastapi import (
    AttemptEnded,
    AttemptOutcome,
    Discard,
    MessageBus,
    Observer,
    Retried,
    Retry,
)
from convex_messaging_fastapi.outbox import Inbox, claiming
from convex_messaging_fastapi.outbox.claiming import Claim, take
from tests.bus.support import Bet, memory_bus
from tests.outbox.effects import Effects

BLOCKING = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}


async def publish(bus: MessageBus, *ids: str) -> None:
    for id in ids:
        await bus.publish("bet.placed", Bet(bet_id=1), key="1", headers={"message-id": id})


def counts(bus: MessageBus) -> tuple[int, int, int, int, int]:
    """Handled, known already, discarded, failed attempts, and buried."""
    (each,) = [each for worker in bus.status().workers for each in worker.subscriptions]
    return each.handled, each.already_handled, each.discarded, each.failed_attempts, each.buried


class Outcomes(Observer):
    def __init__(self) -> None:
        self.told: list[AttemptOutcome] = []
        self.retries = asyncio.Event()

    def handling(self, group: str, handler: str, records: Any, attempt: int) -> AttemptEnded:
        return lambda outcome, error: self.told.append(outcome)

    def retried(self, event: Retried) -> None:
        self.retries.set()


async def test_a_repeat_has_no_second_effect_and_is_counted_apart(effects: Effects, inbox: Inbox) -> None:
    outcomes = Outcomes()
    bus = memory_bus(observers=[outcomes])

    @bus.subscriber("bet.placed")
    async def settle(bet: Bet, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        await db.execute(effects.doing("settled"))

    async with bus.test() as t:
        await publish(bus, "one", "one", "two", "one")
        await t.settle()
        assert counts(bus) == (2, 2, 0, 0, 0)
    assert await effects.done() == ["settled"] * 2
    assert outcomes.told == ["handled", "already_handled", "handled", "already_handled"]


async def test_what_a_handler_discards_itself_is_not_counted_as_a_repeat(
    effects: Effects, inbox: Inbox
) -> None:
    bus = memory_bus()

    @bus.subscriber("bet.placed")
    async def settle(bet: Bet, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        raise Discard("not for us")

    async with bus.test() as t:
        await publish(bus, "one", "one")
        await t.settle()
        assert counts(bus)[:3] == (0, 0, 2)
    assert await effects.known() == 0


async def test_a_replayed_letter_is_not_handled_again_if_its_effects_were_committed(
    effects: Effects, inbox: Inbox
) -> None:
    bus, broken = memory_bus(), [True]

    async def other() -> AsyncIterator[None]:
        yield
        if broken:  # after the session's exit, which has committed
            raise ConnectionError("no connection")

    @bus.subscriber("bet.placed", retry=Retry(attempts=1))
    async def settle(
        bet: Bet, it: Annotated[None, Depends(other)], db: Annotated[AsyncSession, Depends(inbox.session)]
    ) -> None:
        await db.execute(effects.doing("settled"))

    async with bus.test() as t:
        await publish(bus, "one")
        await t.settle()
        assert (await effects.done(), len(t.dead_letters())) == (["settled"], 1)
        broken.clear()
        await t.replay()
        assert counts(bus)[:2] == (0, 1)
    assert await effects.done() == ["settled"]


async def test_behind_a_frozen_predecessor_an_attempt_fails_and_is_tried_again(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = Outcomes()
    bus = memory_bus(observers=[outcomes])
    monkeypatch.setattr(claiming, "LOCK_SECONDS", 1)
    options = {"connect_args": {"timeout": 0.05}} if effects.kind == "sqlite" else {}
    mine = create_async_engine(effects.engine.url, **options)
    inbox = Inbox(effects.tables, async_sessionmaker(mine))

    @bus.subscriber("bet.placed", retry=Retry(attempts=None), id="settle")
    async def settle(bet: Bet, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        await db.execute(effects.doing("settled"))

    async with AsyncSession(effects.engine) as frozen, bus.test() as t:
        await frozen.run_sync(take, effects.tables, Claim("bets/settle", "one"))
        await publish(bus, "one")
        settling = asyncio.ensure_future(t.settle())
        await outcomes.retries.wait()
        await frozen.rollback()
        await settling
        assert counts(bus)[:3] == (1, 0, 0)
        assert counts(bus)[3] >= 1
    await mine.dispose()
    assert await effects.done() == ["settled"]
