"""The program of the outbox's page keeps bet and message together, and moves those of an older outbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from tests.docs.programs import program_of


@pytest.fixture
async def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "memory://")
    main = program_of("outbox.md", tmp_path, monkeypatch)
    async with main.lifespan(main.app):
        yield main


async def rows(main: Any) -> list[Any]:
    table = main.tables.outbox
    async with main.sessions() as db:
        return list(await db.execute(select(table).order_by(table.c.id)))


async def test_a_bet_is_answered_for_although_no_bus_runs_and_its_message_waits(main: Any) -> None:
    transport = httpx.ASGITransport(main.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bets") as http:
        answer = await http.post("/bets", json={"account": 7, "stake": 10})
    assert (answer.status_code, answer.json()) == (201, {"bet": 1})
    (row,) = await rows(main)
    assert (row.topic, row.record_key, row.value) == ("convex.bet.placed", b"7", b'{"Bet":1,"Stake":10}')


async def test_messages_of_an_older_outbox_are_moved_in_their_order(main: Any) -> None:
    columns = "id integer primary key, topic text, key text, payload text, type text"
    insert = "insert into outbox_events values (:id, 'bet.placed', '7', :payload, 'BetPlaced')"
    async with main.sessions.begin() as db:
        await db.execute(text(f"create table outbox_events ({columns})"))
        await db.execute(text(insert), [{"id": n, "payload": f'{{"Bet":{n}}}'} for n in range(1, 601)])
    assert [await main.move_some() for _ in range(3)] == [500, 100, 0]
    moved = await rows(main)
    assert [row.message_id for row in moved] == [f"old-{n}" for n in range(1, 601)]
    assert (moved[0].topic, moved[0].value) == ("convex.bet.placed", b'{"Bet":1}')
    assert '["message-type", "BetPlaced"]' in moved[0].headers


async def test_a_bet_is_announced_once_the_relay_has_its_turn(main: Any) -> None:
    await main.test_a_bet_is_announced()
    assert await rows(main) == []
