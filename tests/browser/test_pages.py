"""Every page is for everybody: by day and by night, on a telephone, by keyboard, without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.seats import HEIGHT, NARROW, TABLET, Look, Seat, seat
from tests.browser.shown import ADA, PAGES, Shown

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

STATUS = {"not-there": 404}
EVERY_PAGE = pytest.mark.parametrize("name", PAGES)


async def opened(at: Seat, shown: Shown, name: str) -> None:
    await at.open(shown.path(name), STATUS.get(name, 200))
    await at.page.get_by_text(PAGES[name].text).first.wait_for()


@EVERY_PAGE
async def test_a_page_keeps_nobody_out(name: str, chromium: Browser, shown: Shown) -> None:
    """By day nor by night, with a telephone nor without a mouse."""
    async with seat(chromium, shown.address, *ADA) as at:
        await opened(at, shown, name)
        assert await at.violations() == []
        await at.page.emulate_media(color_scheme="dark")
        assert await at.violations() == []
        for width in (TABLET, NARROW):
            await at.page.set_viewport_size({"width": width, "height": HEIGHT})
            assert await at.width() == width
        await at.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert await at.width() == NARROW
        controls = await at.controls()
        assert len(controls) > 5
        assert sorted(controls) == sorted(await at.tab_through())


@EVERY_PAGE
async def test_a_page_reads_without_scripts(name: str, chromium: Browser, shown: Shown) -> None:
    async with seat(chromium, shown.address, *ADA, Look(scripts=False)) as at:
        await opened(at, shown, name)
        await at.page.get_by_role("heading", level=1).wait_for()
