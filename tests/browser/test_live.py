"""A page that stays open tells what happens meanwhile, and so does a second browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.seats import Seat, seat
from tests.browser.shown import ADA, BOB, Shown, fill

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SOON = 5_000
"""Milliseconds, as the browser counts them."""

HANDLED = "document.querySelector('#numbers dd').innerText"
BEGINS = re.compile(r"^Replay [\d,]+ letters?$")
SAME_PAGE = "window.untouched = true"


async def unloaded(at: Seat) -> bool:
    """Whether the page was not loaded again since `SAME_PAGE`."""
    return bool(await at.page.evaluate("window.untouched === true"))


async def test_the_overview_counts_what_is_handled_while_it_is_open(chromium: Browser, shown: Shown) -> None:
    async with seat(chromium, shown.address, *BOB) as at:
        await at.open("")
        await at.page.evaluate(SAME_PAGE)
        before = await at.page.evaluate(HANDLED)
        shown.service.post("/bets", {"user_id": 1, "stake": "10.00"})
        await at.page.wait_for_function(f"before => {HANDLED} !== before", arg=before, timeout=SOON)
        assert await unloaded(at)


async def test_a_second_browser_sees_how_far_a_replay_is(chromium: Browser, shown: Shown) -> None:
    fill(shown.service)
    async with seat(chromium, shown.address, *ADA) as ada, seat(chromium, shown.address, *BOB) as bob:
        job = await replay(ada, rate=2)
        await bob.open(f"/jobs/{job}")
        await bob.page.evaluate(SAME_PAGE)
        await moves(bob)
        await moves(ada)
        assert await unloaded(bob)


async def replay(at: Seat, rate: int, query: str = "") -> str:
    """Replay what is open, so many letters a second; the job's id."""
    await at.open(f"/dead-letters/replay?rate={rate}&{query}")
    await at.page.get_by_role("button", name=BEGINS).click()
    await at.page.wait_for_url(re.compile(r".*/jobs/[\w-]+$"))
    return str(at.page.url).rpartition("/")[2]


async def moves(at: Seat) -> None:
    """Within five seconds the page says that more is done than it says now."""
    await at.page.locator("progress").wait_for()
    before = await at.page.evaluate("document.querySelector('progress').value")
    await at.page.wait_for_function(
        "before => document.querySelector('progress').value > before", arg=before, timeout=SOON
    )
