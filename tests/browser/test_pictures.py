"""The pictures of the documentation are of the pages as they are: `make screenshots` makes them here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.pictures import picture
from tests.browser.seats import NARROW, WIDE, Look, seat
from tests.browser.shown import ADA, PAGES, Shown, act

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WANTED_STEPS = 24
"""Of five seconds each: what two minutes' bets look like."""

LOOKS = {"light": Look(), "dark": Look("dark", WIDE), "narrow": Look("light", NARROW)}
BY_THEMSELVES = {"overview", "outboxes"}
"""Have a test of their own that makes their pictures."""

NO_PICTURE = {"nothing-found", "not-there", "tail-of-nothing"}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", sorted(set(PAGES) - NO_PICTURE - BY_THEMSELVES))
async def test_a_page_has_its_picture(name: str, look: str, chromium: Browser, shown: Shown) -> None:
    async with seat(chromium, shown.address, *ADA, LOOKS[look]) as at:
        await at.open(shown.path(name))
        await at.page.get_by_text(PAGES[name].text).first.wait_for()
        await picture(at.page, f"{name}-{look}")


async def test_the_overview_has_its_picture_after_a_while(chromium: Browser, shown: Shown) -> None:
    """When all goes well again, and there is a course of things to be seen."""
    act(shown.service, shown.path("resuming"))
    for look, seen in LOOKS.items():
        async with seat(chromium, shown.address, *ADA, seen) as at:
            await at.open("")
            await at.page.get_by_text("All is well.").wait_for()
            await at.page.wait_for_function(
                "steps => document.querySelectorAll('#steps tbody tr').length >= steps",
                arg=WANTED_STEPS,
                timeout=WANTED_STEPS * 5_000,
            )
            await at.page.locator("#sparklines svg").first.wait_for()
            await picture(at.page, f"overview-{look}")
