"""A claim is of one message and one handler, and stays exactly if what follows it is committed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from convex_messaging_fastapi import AlreadyHandled, ConfigurationError, Delivery
from convex_messaging_fastapi.outbox import Inbox
from tests.outbox.effects import Effects, session_of
from tests.outbox.test_outbox import until_somebody_waits_for_a_lock


async def test_a_second_delivery_takes_over_when_the_first_fails(effects: Effects, inbox: Inbox) -> None:
    claimed = asyncio.Event()

    async def fails() -> None:
        async with session_of(inbox, Delivery.for_test()) as session:
            claimed.set()
            await session.execute(effects.doing("lost"))
            await asyncio.sleep(0.02)  # simulates work
            raise ValueError("no such account")

    first = asyncio.ensure_future(fails())
    await claimed.wait()
    await effects.handle(inbox, Delivery.for_test(), "done")
    with pytest.raises(ValueError, match="no such account"):
        await first
    assert await effects.done() == ["done"]


IDS = [
    b"Bet-1",
    b"bet-1",
    b"bet-1 ",
    b"bet-1\n",
    "bet-é".encode(),
    "bet-e\u0301".encode(),
    b"x" * 300,
    b"x" * 300 + b"y",
    b"\xff\xfe",
    b"\xff\xfd",
    b"zero\0one",
    b"zero\0two",
]
"""Each differs from all others, as bytes."""


async def test_ids_that_differ_in_anything_are_of_different_messages(effects: Effects, inbox: Inbox) -> None:
    for id in IDS:
        await effects.handle(inbox, Delivery.for_test(headers={"message-id": id}), repr(id)[:90])
    for id in IDS:
        with pytest.raises(AlreadyHandled):
            await effects.handle(inbox, Delivery.for_test(headers={"message-id": id}))
    assert len(await effects.done()) == len(IDS) == await effects.known()


async def test_an_empty_id_is_none(effects: Effects, inbox: Inbox) -> None:
    for offset in (7, 8):
        await effects.handle(inbox, Delivery.for_test(offset=offset, message_id=""))
    assert len(await effects.done()) == 2


async def test_each_handler_has_its_own(effects: Effects, inbox: Inbox) -> None:
    for handler in ("pay/settle", "pay/notify", "Pay/settle", "x" * 300, "x" * 301):
        await effects.handle(inbox, Delivery.for_test(subscription=handler), handler[:90])
    assert len(await effects.done()) == 5


async def test_where_reads_repeat_the_second_delivery_fails_and_its_next_attempt_is_told(
    effects: Effects,
) -> None:
    if effects.kind != "postgresql":
        pytest.skip("only PostgreSQL refuses what its snapshot does not show")
    strict = async_sessionmaker(effects.engine.execution_options(isolation_level="REPEATABLE READ"))
    inbox = Inbox(effects.tables, strict)
    claimed, somebody_waits = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with session_of(inbox, Delivery.for_test()) as session:
            claimed.set()
            await session.execute(effects.doing("done"))
            await somebody_waits.wait()

    running = asyncio.ensure_future(first())
    await claimed.wait()
    second = asyncio.ensure_future(effects.handle(inbox, Delivery.for_test()))
    await until_somebody_waits_for_a_lock(effects.engine)
    somebody_waits.set()
    with pytest.raises(DBAPIError, match="could not serialize access"):
        await second
    await running
    with pytest.raises(AlreadyHandled):
        await effects.handle(inbox, Delivery.for_test())
    assert await effects.done() == ["done"]


async def test_a_claim_by_hand_is_committed_with_ones_own_transaction(effects: Effects, inbox: Inbox) -> None:
    found = []
    for _ in range(2):
        async with (
            effects.engine.begin() as connection,
            inbox.claim(connection, Delivery.for_test()) as fresh,
        ):
            found.append(fresh)
            if fresh:
                await connection.execute(effects.doing("done"))
    assert (found, await effects.done()) == ([True, False], ["done"])


async def test_what_fails_behind_a_claim_takes_it_back_though_somebody_goes_on(
    effects: Effects, inbox: Inbox
) -> None:
    async def fails(session: AsyncSession) -> None:
        async with inbox.claim(session, Delivery.for_test()):
            await session.execute(effects.doing("lost"))
            raise ValueError("no such account")

    async with effects.sessions() as session:
        with pytest.raises(ValueError, match="no such account"):
            await fails(session)
        await session.commit()
    assert (await effects.known(), await effects.done()) == (0, [])


async def test_a_session_or_delivery_that_cannot_serve_is_refused(effects: Effects, inbox: Inbox) -> None:
    wrong: Any
    for wrong, said in ((Session(), "claim_sync"), (effects.engine, "AsyncSession")):
        with pytest.raises(ConfigurationError, match=said):
            async with inbox.claim(wrong, Delivery.for_test()):
                pass
    for wrong, said in ((AsyncSession(), r"async with inbox\.claim"), (None, "your Session")):
        with pytest.raises(ConfigurationError, match=said), inbox.claim_sync(wrong, Delivery.for_test()):
            pass
    at_once = effects.engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        async with AsyncSession(at_once) as session, inbox.claim(session, Delivery.for_test()):
            pass
    with pytest.raises(ConfigurationError, match="names no handler"):
        await effects.handle(inbox, Delivery(Delivery.for_test().record))
    assert await effects.known() == 0
