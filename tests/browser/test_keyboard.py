"""Who has no mouse does all that others do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.seats import Seat, seat
from tests.browser.shown import ADA, Shown

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HANDLER = "example_app.handlers.send_welcome"


async def test_a_handler_is_paused_and_resumed_by_keyboard(chromium: Browser, shown: Shown) -> None:
    async with seat(chromium, shown.address, *ADA) as ada:
        await ada.open("/subscriptions")
        await press(ada, f"Pause… {HANDLER}", f"Pause {HANDLER}?")
        await ada.tab_to("reason")
        await ada.page.keyboard.type("the mail server is away")
        await press(ada, "Pause it", "Subscriptions")
        await ada.page.get_by_text("It is paused: all processes").wait_for()
        await ada.page.get_by_role("link", name=f"Resume… {HANDLER}").wait_for()
        await press(ada, f"Resume… {HANDLER}", f"Resume {HANDLER}?")
        await press(ada, "Resume it", "Subscriptions")
        await ada.page.get_by_text("It goes on: all processes").wait_for()


async def press(at: Seat, name: str, then: str) -> None:
    """Go there by Tab, press Enter, and be on the page with this heading."""
    await at.tab_to(name)
    await at.page.keyboard.press("Enter")
    await at.page.get_by_role("heading", name=then, level=1).wait_for()
