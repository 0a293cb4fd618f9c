"""Every page is for everybody: by day and by night, on a telephone, by keyboard, without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.seats import HEIGHT, NARROW, TABLET, Look, Seat, seat
from tests.browser.shown import ADA, BOB, PAGES, Shown

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

STATUS = {"not-there": 404}
EVERY_PAGE = pytest.mark.parametrize("name", PAGES)


async def opened(at: Seat, shown: Shown, name: str) -> None:
    await at.open(shown.path(name), STATUS.get(name, 200))
    await at.page.get_by_text(PAGES[name].text).first.wait_for()


@EVERY_PAGE
async def test_a_page_keeps_nobody_out_by_day_or_night_and_fits_a_telephone(
    name: str, chromium: Browser, shown: Shown
) -> None:
    async with seat(chromium, shown.address, *ADA) as at:
        await opened(at, shown, name)
        assert await at.violations() == []
        await at.page.emulate_media(color_scheme="dark")
        assert await at.violations() == []
        for width in (TABLET, NARROW):
            await at.page.set_viewport_size({"width": width, "height": HEIGHT})
            assert await at.width() == width


@EVERY_PAGE
async def test_the_tab_key_reaches_all_that_a_mouse_does(name: str, chromium: Browser, shown: Shown) -> None:
    async with seat(chromium, shown.address, *ADA) as at:
        await opened(at, shown, name)
        await at.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        controls = await at.controls()
        assert sorted(controls) == sorted(await at.tab_through())
        assert len(controls) > 5


@EVERY_PAGE
async def test_a_page_reads_without_scripts(name: str, chromium: Browser, shown: Shown) -> None:
    async with seat(chromium, shown.address, *ADA, Look(scripts=False)) as at:
        await opened(at, shown, name)
        await at.page.get_by_role("heading", level=1).wait_for()


async def test_who_may_only_read_is_refused_what_acts(chromium: Browser, shown: Shown) -> None:
    async with seat(chromium, shown.address, *BOB) as at:
        for name in ("pausing", "replay", "discard", "reopen", "stopping"):
            await at.open(shown.path(name), 403)
