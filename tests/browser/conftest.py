"""One Chromium for all of these tests, and one example app whose console has something on every page."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.browser import pictures
from tests.browser.shown import USERS, Shown, bets_go_on, fill, shown_by
from tests.support.services import service
from tests.support.telling import telling
from tools import browser

if TYPE_CHECKING:
    from playwright.async_api import Browser

collect_ignore = [] if pictures.FOLDER else ["test_pictures.py"]
"""Nobody is told that they were skipped."""

REQUIRED = os.environ.get("REQUIRE_BROWSER") == "1"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(pytestconfig: pytest.Config) -> AsyncIterator[Browser]:
    """The machine's own."""
    program = browser.find() or _none(pytestconfig, f"no browser here: {browser.HELP}")
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        _none(pytestconfig, "the browser tests need packages of their own: `make browser` installs them")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program)
        telling(pytestconfig).summary.append(f"browser: {program} {started.version}")
        yield started
        await started.close()


def _none(config: pytest.Config, reason: str) -> str:
    """Skips what needs one, and says so in the last lines; CI fails instead."""
    if REQUIRED:
        pytest.fail(f"REQUIRE_BROWSER=1, but {reason}", pytrace=False)
    telling(config).summary.append(f"browser: none: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The example app on the in-process broker, after some bets."""
    with service(tmp_path_factory.mktemp("shown"), {"CONSOLE_USERS": USERS}) as app:
        app.wait_ready()
        with bets_go_on(app) if pictures.FOLDER else nullcontext(fill(app)):
            yield shown_by(app)
