"""A payment fails, and is found, understood, mended and handled by somebody with nothing but a mouse."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example_app.console import PREFIX
from tests.browser.pictures import picture
from tests.browser.seats import Seat, seat
from tests.browser.shown import ADA, USERS
from tests.support.independent import Independent
from tests.support.services import Service
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

APP = """
import os
from decimal import Decimal

from fastapi import FastAPI

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingRouter
from example_app.console import include_console


class PaymentRequested(ConvexMessage):
    order_id: int
    amount: Decimal
    card: str


bus = MessageBus()
app = FastAPI()
app.include_router(MessagingRouter(bus))
include_console(app, bus, os.environ)


@bus.subscriber("payments")
async def charge(payment: PaymentRequested) -> None:
    print(f"charged {payment.amount} for order {payment.order_id}", flush=True)
"""
HURRIED = """
from functools import partial
from convex_messaging_fastapi.transport.kafka import transport, tuning
transport.Tuning = partial(tuning.Tuning, metadata_max_age_ms=500)
"""
"""The first replay makes a topic, which is found within half a minute: here within half a second."""

BEFORE, MENDED = "card: str\n", "card: str | None = None\n"
FAILS = b'{"OrderId": 8, "Amount": 99.9}'


async def test_a_payment_that_failed_is_handled_by_mouse(
    chromium: Browser, kafka: Cluster, unique: str, tmp_path: Path
) -> None:
    story = Story(kafka, unique, tmp_path)
    try:
        await story.deploy(APP)
        async with seat(chromium, story.service.address + PREFIX, *ADA) as ada:
            await ada.open("/dead-letters")
            await ada.page.get_by_text("No dead letters are open").wait_for()
            await story.payment(FAILS)
            await it_is_found(ada)
            await it_would_be_refused(ada)
            await story.deploy(APP.replace(BEFORE, MENDED))
            ada.complaints.clear()  # nobody answered for a moment
            await it_would_be_accepted(ada)
            await it_is_replayed(ada)
            await eventually(lambda: "charged 99.9 for order 8" in story.log, 20, "the payment to be taken")
            await its_history_says_who_and_when(ada)
    finally:
        story.end()
    assert story.log.count("charged") == 1


class Story:
    """The service, as it is deployed twice."""

    def __init__(self, kafka: Cluster, prefix: str, folder: Path) -> None:
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "KAFKA_TOPIC_PREFIX": prefix,
            "KAFKA_CONSUMER_GROUP": f"{prefix}-shop",
            "KAFKA_CREATE_TOPICS": "true",
            "CONSOLE_USERS": USERS,
        }
        self.service = Service(folder, environment, app="main:app")
        self._main = folder / "main.py"
        self._topic = f"{prefix}.payments"
        self._witness = Independent(kafka.bootstrap)

    @property
    def log(self) -> str:
        return self.service.log.read_text()

    async def deploy(self, program: str) -> None:
        """The service ends, if it runs, and starts as this program."""
        await asyncio.to_thread(self._deploy, program)

    async def payment(self, value: bytes) -> None:
        await asyncio.to_thread(self._witness.write, self._topic, [value], key="8")

    def end(self) -> None:
        self.service.kill()

    def _deploy(self, program: str) -> None:
        if self.service.alive:
            self.service.terminate()
        self._main.write_text(HURRIED + program)
        self.service.start().wait_ready()


async def it_is_found(ada: Seat) -> None:
    """The page that is open shows its group, without being loaded again."""
    group = ada.page.get_by_role("link", name="convex_messaging_fastapi.errors.DecodeError")
    await group.wait_for()
    await picture(ada.page, "story-1-a-group-appears")
    await group.click()
    await ada.page.get_by_role("heading", name="one by one").wait_for()
    await ada.page.locator("tbody th a").click()
    await ada.page.get_by_text("Card: Field required").first.wait_for()
    await ada.page.get_by_text('"OrderId": 8').wait_for()
    await picture(ada.page, "story-2-the-letter")


async def it_would_be_refused(ada: Seat) -> None:
    await ada.page.get_by_role("link", name="Would it be accepted now?").click()
    await ada.page.get_by_text("would be refused", exact=True).wait_for()
    await picture(ada.page, "story-3-refused")


async def it_would_be_accepted(ada: Seat) -> None:
    await ada.page.reload()
    await ada.page.get_by_text("would be accepted", exact=True).wait_for()
    await picture(ada.page, "story-4-accepted")


async def it_is_replayed(ada: Seat) -> None:
    await ada.page.get_by_role("link", name="Replay…").click()
    await ada.page.get_by_role("heading", name="Replay 1 letter?").wait_for()
    await picture(ada.page, "story-5-what-would-be-done")
    await ada.page.get_by_role("button", name="Replay 1 letter").click()
    await ada.page.get_by_text("1 of 1 letter").wait_for()
    await picture(ada.page, "story-6-done")


async def its_history_says_who_and_when(ada: Seat) -> None:
    await ada.page.get_by_role("link", name="Dead letters").click()
    await ada.page.get_by_text("No dead letters are open").wait_for()
    await ada.page.get_by_role("link", name="Show those that were dealt with").click()
    await ada.page.get_by_role("link", name=re.compile("^letter ")).click()
    row = ada.page.get_by_role("row", name="ada")
    await row.wait_for()
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*replayed.*ada", await row.inner_text(), re.DOTALL)
    await ada.page.get_by_role("heading", name="What was done about it").scroll_into_view_if_needed()
    await picture(ada.page, "story-7-its-history")
