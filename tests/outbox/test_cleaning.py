"""An inbox forgets what is older than it keeps, a thousand at a go, and handles messages meanwhile."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import sessionmaker

from convex_messaging_fastapi import Delivery
from convex_messaging_fastapi.outbox import Inbox
from convex_messaging_fastapi.outbox import inbox as inbox_module
from convex_messaging_fastapi.outbox.cleaning import AT_ONCE, LEASE
from tests.outbox.effects import Effects
from tests.outbox.test_outbox import BLOCKING


@pytest.fixture(autouse=True)
def every_claim_cleans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "CLAIMS_A_CLEANING", 1)


def exact(effects: Effects, text: str) -> Any:
    return text.encode() if effects.kind == "mariadb" else text


async def handled_before(effects: Effects, age: timedelta, number: int) -> None:
    at = datetime.now(UTC) - age
    rows = [
        {
            "handler": exact(effects, "pay/settle"),
            "message_id": exact(effects, f"{age}-{index}"),
            "handled_at": at if effects.kind == "postgresql" else at.replace(tzinfo=None),
        }
        for index in range(number)
    ]
    async with effects.engine.begin() as connection:
        await connection.execute(insert(effects.tables.inbox), rows)


async def test_what_is_older_than_seven_days_goes_and_what_is_younger_stays(
    effects: Effects, inbox: Inbox
) -> None:
    await handled_before(effects, timedelta(days=8), AT_ONCE + 5)
    await handled_before(effects, timedelta(days=6), 3)
    known = []
    for id in ("a", "b", "c"):
        await effects.handle(inbox, Delivery.for_test(message_id=id))
        known.append(await effects.known())
    assert known == [5 + 3 + 1, 3 + 2, 3 + 3]


async def test_handlers_that_block_clean_too(effects: Effects) -> None:
    await handled_before(effects, timedelta(hours=2), 3)
    engine = create_engine(effects.engine.url.set(drivername=BLOCKING[effects.kind]))
    inbox = Inbox(effects.tables, sessionmaker(engine), retention=timedelta(hours=1))
    with contextmanager(inbox.session_sync)(Delivery.for_test()):
        pass
    engine.dispose()
    assert await effects.known() == 1


@pytest.mark.parametrize("effects", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_one_process_cleans_at_a_time_and_nobody_waits_for_it(effects: Effects, inbox: Inbox) -> None:
    await effects.handle(inbox, Delivery.for_test(message_id="a"))  # makes the row of the lease
    await handled_before(effects, timedelta(days=8), 3)
    lease = effects.tables.lease
    async with effects.engine.begin() as other:
        await other.execute(select(lease).where(lease.c.name == LEASE).with_for_update())
        await effects.handle(inbox, Delivery.for_test(message_id="b"))
        assert await effects.known() == 5
    await effects.handle(inbox, Delivery.for_test(message_id="c"))
    assert await effects.known() == 3


@pytest.mark.parametrize("effects", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_where_cleaning_fails_messages_are_handled_and_the_log_says_so(
    effects: Effects, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with effects.engine.begin() as connection:
        await connection.run_sync(effects.tables.lease.drop)
    with caplog.at_level(logging.WARNING):
        await effects.handle(inbox, Delivery.for_test())
    assert await effects.done() == ["done"]
    (line,) = caplog.records
    assert "old rows of the inbox are not deleted" in line.getMessage()


@pytest.mark.parametrize("effects", ["sqlite"], indirect=True)
async def test_only_every_so_many_claims_clean(
    effects: Effects, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "CLAIMS_A_CLEANING", 3)
    await handled_before(effects, timedelta(days=8), 1)
    known = []
    for id in ("a", "b", "c"):
        await effects.handle(inbox, Delivery.for_test(message_id=id))
        known.append(await effects.known())
    assert known == [2, 3, 3]
