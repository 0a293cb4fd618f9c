"""With an inbox a handler's database shows each message once, whatever repeats it and whoever fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import Depends
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from convex_messaging_fastapi import (
    AttemptEnded,
    AttemptOutcome,
    ConfigurationError,
    Discard,
    MessageBus,
    Observer,
    Record,
    Retried,
    Retry,
)
from convex_messaging_fastapi.outbox import Inbox
from convex_messaging_fastapi.outbox.claims import Claim, is_fresh
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


async def test_each_handler_of_a_message_handles_it(effects: Effects, inbox: Inbox) -> None:
    bus = memory_bus()

    async def handle(bet: Bet, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        await db.execute(effects.doing("handled"))

    for id in ("settle", "notify"):
        bus.subscriber("bet.placed", id=id)(handle)
    bus.subscriber("bet.placed", group="others", id="elsewhere")(handle)
    async with bus.test() as t:
        await publish(bus, "one", "one")
        await t.settle()
    assert await effects.done() == ["handled"] * 3


async def test_an_attempt_that_fails_leaves_nothing_and_the_next_one_handles_it(
    effects: Effects, inbox: Inbox
) -> None:
    bus, attempts = memory_bus(), []

    @bus.subscriber("bet.placed")
    async def settle(bet: Bet, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        attempts.append(await effects.known())
        await db.execute(effects.doing("settled"))
        if len(attempts) == 1:
            raise ConnectionError("no connection")

    async with bus.test() as t:
        await publish(bus, "one")
        await t.settle()
        assert counts(bus) == (1, 0, 0, 1, 0)
    assert (attempts, await effects.done()) == ([0, 0], ["settled"])


async def test_a_replayed_letter_is_handled_if_its_handler_never_was_done_with_it(
    effects: Effects, inbox: Inbox
) -> None:
    bus, broken = memory_bus(), [True]

    @bus.subscriber("bet.placed", retry=Retry(attempts=1))
    async def settle(bet: Bet, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        await db.execute(effects.doing("settled"))
        if broken:
            raise ValueError("no such account")

    async with bus.test() as t:
        await publish(bus, "one")
        await t.settle()
        assert (await effects.done(), len(t.dead_letters())) == ([], 1)
        broken.clear()
        await t.replay()
        assert counts(bus)[:2] == (1, 0)
    assert await effects.done() == ["settled"]


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


async def test_behind_a_frozen_predecessor_an_attempt_fails_and_is_tried_again(effects: Effects) -> None:
    outcomes = Outcomes()
    bus = memory_bus(observers=[outcomes])
    options = {"connect_args": {"timeout": 0.05}} if effects.kind == "sqlite" else {}
    mine = create_async_engine(effects.engine.url, **options)
    effects.sessions.configure(bind=mine)
    inbox = Inbox(effects.tables, effects.sessions, lock_timeout_seconds=0.05)

    @bus.subscriber("bet.placed", retry=Retry(attempts=None), id="settle")
    async def settle(bet: Bet, db: Annotated[AsyncSession, Depends(inbox.session)]) -> None:
        await db.execute(effects.doing("settled"))

    async with AsyncSession(effects.engine) as frozen, bus.test() as t:
        await frozen.run_sync(is_fresh, effects.tables, Claim("bets/settle", "one"), 5)
        await publish(bus, "one")
        settling = asyncio.ensure_future(t.settle())
        await outcomes.retries.wait()
        await frozen.rollback()
        await settling
        assert counts(bus)[:3] == (1, 0, 0)
        assert counts(bus)[3] >= 1
    await mine.dispose()
    assert await effects.done() == ["settled"]


@contextmanager
def blocking(effects: Effects) -> Iterator[Engine]:
    """The same database, for sessions that block."""
    kind = effects.engine.url.get_backend_name()
    engine = create_engine(effects.engine.url.set(drivername=BLOCKING[kind]))
    try:
        yield engine
    finally:
        engine.dispose()


async def test_handlers_that_block_have_one_too(effects: Effects) -> None:
    bus, attempts = memory_bus(), []
    with blocking(effects) as engine:
        inbox = Inbox(effects.tables, sessionmaker(engine))

        @bus.subscriber("bet.placed")
        def settle(bet: Bet, db: Annotated[Session, Depends(inbox.session)]) -> None:
            attempts.append(bet)
            db.execute(effects.doing("settled"))
            if len(attempts) == 1:
                raise ConnectionError("no connection")

        async with bus.test() as t:
            await publish(bus, "one", "one")
            await t.settle()
            assert counts(bus) == (1, 1, 0, 1, 0)
    assert await effects.done() == ["settled"]


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (lambda e: (None, e.sessions), {}, "MessagingTables"),
        (lambda e: (e.tables, e.engine), {}, "async_sessionmaker"),
        (lambda e: (e.tables, e.sessions), {"keep": timedelta(0)}, "more than no time"),
        (lambda e: (e.tables, e.sessions), {"lock_timeout_seconds": 0}, "more than no time"),
    ],
)
@pytest.mark.parametrize("effects", ["sqlite"], indirect=True)
def test_an_inbox_is_made_of_what_it_needs(effects: Effects, arguments: Any, more: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Inbox(*arguments(effects), **more)


def test_a_record_knows_nothing_of_its_handler() -> None:
    assert "subscription" not in Record._fields
