"""A process that replays is killed half-way: the console of another says so, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example_app.console import PREFIX
from tests.browser.seats import seat
from tests.browser.shown import ADA, BOB, USERS
from tests.browser.test_live import moves, replay
from tests.support.services import Service
from tools.kafka.cluster import Cluster

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LETTERS = 60
SILENCE = 20_000
"""Milliseconds: a job that has said nothing for ten seconds counts as interrupted."""


@pytest.fixture
def pair(kafka: Cluster, unique: str, tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """Two processes of the example app, whose payments have failed."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC_PREFIX": unique,
        "KAFKA_CONSUMER_GROUP": f"{unique}-bets",
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


async def test_who_watches_a_replay_whose_process_is_killed_is_told_what_to_do(
    chromium: Browser, pair: tuple[Service, Service]
) -> None:
    one, two = pair
    await asyncio.to_thread(fail, one)
    async with (
        seat(chromium, one.address + PREFIX, *ADA) as ada,
        seat(chromium, two.address + PREFIX, *BOB) as bob,
    ):
        job = await replay(ada, rate=2)
        await bob.open(f"/jobs/{job}")
        await moves(bob)
        await asyncio.to_thread(one.kill)
        await bob.page.get_by_text("Its process has said nothing for ten seconds.").wait_for(timeout=SILENCE)
        await bob.page.get_by_text("what it has done stays done").wait_for()
        ada.complaints.clear()  # nobody answers her any more
