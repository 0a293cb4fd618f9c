"""Messages wait in an outbox that nobody relays: its page says so, what to do, and when they have gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example_app.console import PREFIX
from tests.browser.pictures import picture
from tests.browser.seats import DAY, HEIGHT, NARROW, Look, seat
from tests.browser.shown import ADA, USERS
from tests.support.services import Service

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

APP = """
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingRouter
from convex_messaging_fastapi.outbox import MessagingTables, Outbox
from example_app.console import include_console


class BetPlaced(ConvexMessage):
    bet_id: int


metadata = MetaData()
engine = create_async_engine(os.environ["DATABASE"])
sessions = async_sessionmaker(engine)
bus = MessageBus()
outbox = Outbox(bus, engine, MessagingTables(metadata), relay=os.environ["RELAY"] == "yes")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
app.include_router(MessagingRouter(bus))
include_console(app, bus, os.environ)


@app.post("/bets")
async def place(bet: BetPlaced) -> None:
    async with sessions.begin() as db:
        await outbox.publish(db, "bet.placed", bet, key=str(bet.bet_id))
"""
WAITING = 3


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """Two processes with one database, of which the second relays, and has not begun."""
    (tmp_path / "main.py").write_text(APP)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "memory://",
        "KAFKA_CONSUMER_GROUP": "bets",
        "CONSOLE_USERS": USERS,
        "DATABASE": f"sqlite+aiosqlite:///{tmp_path}/bets.db",
    }
    names = {"yes": "relays", "no": "only-writes"}
    writes, relays = (
        Service(tmp_path, environment | {"RELAY": relay}, app="main:app", name=names[relay])
        for relay in ("no", "yes")
    )
    try:
        writes.start().wait_for("/openapi.json", 200, 30)
        yield writes, relays
    finally:
        writes.kill()
        relays.kill()


async def test_what_waits_in_an_outbox_is_seen_to_go(
    chromium: Browser, pair: tuple[Service, Service]
) -> None:
    writes, relays = pair
    for number in range(WAITING):
        await asyncio.to_thread(writes.post, "/bets", {"BetId": number})
    async with seat(chromium, writes.address + PREFIX, *ADA) as ada:
        await ada.open("/outboxes")
        waits = ada.page.locator("dl.numbers div", has_text="Wait to be published").locator("dd")
        await ada.page.get_by_text("No process publishes what an outbox holds.").wait_for()
        await waits.get_by_text(str(WAITING), exact=True).wait_for()
        assert await ada.violations() == []
        await ada.page.set_viewport_size({"width": NARROW, "height": HEIGHT})
        assert await ada.width() == NARROW
        for name, look in {"light": DAY, "dark": Look("dark"), "narrow": Look(width=NARROW)}.items():
            await ada.page.set_viewport_size({"width": look.width, "height": HEIGHT})
            await ada.page.emulate_media(color_scheme=look.scheme)
            await picture(ada.page, f"outboxes-{name}")
        await asyncio.to_thread(relays.start().wait_ready)
        await waits.get_by_text("0", exact=True).wait_for()
