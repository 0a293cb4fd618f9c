"""The browser tests look at every page that there is."""

from __future__ import annotations

import re

from fastapi import Depends
from fastapi.routing import APIRoute

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.console import messaging_console
from example_app.console import Door, operator
from tests.browser.pictures import MOST_BYTES
from tests.browser.shown import PAGES
from tests.browser.test_pictures import LOOKS, NO_PICTURE
from tests.support.services import ROOT

PICTURES = ROOT / "docs" / "screenshots"


def test_every_page_that_the_console_has_is_looked_at() -> None:
    """But for answers to programs, and files."""
    known = [Depends(Door(()).known)]
    console = messaging_console(MessageBus(), dependencies=known, writes=known, operator=operator)
    paths = {
        route.path
        for route in console.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    }
    pages = {path for path in paths if not re.match(r"/$|/(api|assets|download)\b", path)}
    looked_at = [told.path.partition("?")[0] for told in PAGES.values()]
    patterns = {path: re.sub(r"{\w+:path}", ".+", re.sub(r"{\w+}", "[^/]+", path)) for path in pages}
    assert not {
        path for path, each in patterns.items() if not any(re.fullmatch(each, at) for at in looked_at)
    }


def test_every_page_has_its_pictures_which_are_small_and_shown() -> None:
    names = {f"{name}-{look}.png" for name in set(PAGES) - NO_PICTURE for look in LOOKS}
    names |= {file.name for file in PICTURES.glob("story-*.png")}
    assert {file.name for file in PICTURES.iterdir()} == names
    assert all(file.stat().st_size <= MOST_BYTES for file in PICTURES.iterdir())
    shown = [page.read_text() for page in (ROOT / "docs").glob("console*.md")]
    assert {name for text in shown for name in re.findall(r"\(screenshots/([^)]+)\)", text)} == names
