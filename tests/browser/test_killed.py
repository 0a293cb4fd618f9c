"""A process that replays is killed half-way: the console of another says so, and what to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example_app.console import PREFIX
from tests.browser.letters import EXPIRED, fail
from tests.browser.seats import Seat, seat
from tests.browser.shown import ADA, USERS
from tests.browser.test_live import BEGINS, moves, replay
from tests.support.independent import Independent
from tests.support.services import Service
from tools.kafka.cluster import Cluster

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SILENCE = 20_000
"""Milliseconds: a job that has said nothing for ten seconds counts as interrupted."""


@pytest.fixture
def pair(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """Two processes of the example app, whose payments have failed."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC_PREFIX": unique,
        "KAFKA_CONSUMER_GROUP": f"{unique}-bets",
        "KAFKA_SESSION_TIMEOUT_MS": "6000",
        "EXAMPLE_DATABASE": str(tmp_path / "bets.sqlite"),
        "CONSOLE_USERS": USERS,
    }
    one, two = (Service(tmp_path, environment, name=name) for name in ("one", "two"))
    try:
        for service in (one.start(), two.start()):
            service.wait_ready(60)
        yield one, two
    finally:
        one.kill()
        two.kill()


async def once_dealt(at: Seat) -> None:
    """Until the group has missed its dead member the page says that it is being dealt its partitions."""
    begins, waits = (
        at.page.get_by_role("button", name=BEGINS),
        at.page.get_by_text("try it again in some seconds"),
    )
    while not await begins.or_(waits).and_(begins).count():
        await begins.or_(waits).first.wait_for()
        await at.page.reload()


@pytest.mark.parametrize(
    ("others", "meant", "rate"), [(5, 30, 4), pytest.param(5_000, 5_000, 200, marks=pytest.mark.long)]
)
async def test_who_watches_a_replay_whose_process_is_killed_goes_on_from_there(
    others: int,
    meant: int,
    rate: int,
    chromium: Browser,
    pair: tuple[Service, Service],
    kafka: Cluster,
    unique: str,
) -> None:
    one, two = pair
    await asyncio.to_thread(fail, kafka, unique, others)
    await asyncio.to_thread(fail, kafka, unique, meant, EXPIRED)
    async with seat(chromium, one.address + PREFIX, *ADA) as ada:
        job = await replay(ada, rate, f"exception={EXPIRED}")
    async with seat(chromium, two.address + PREFIX, *ADA) as other:
        await other.open(f"/jobs/{job}")
        await moves(other)
        await asyncio.to_thread(one.kill)
        await other.page.get_by_text("Its process has said nothing for ten seconds.").wait_for(
            timeout=SILENCE
        )
        await other.page.get_by_text("what it has done stays done").wait_for()
        await other.page.get_by_role("link", name="Look what is left").click()
        await once_dealt(other)
        await other.page.get_by_role("button", name=BEGINS).click()
        await other.page.locator("#job .state", has_text="done").wait_for(timeout=60_000)
    written = await asyncio.to_thread(Independent(kafka.bootstrap).read, f"{unique}.payments.replay")
    assert Counter(Counter(copy.value for copy in written).values()) == {1: meant}
