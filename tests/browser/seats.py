"""Somebody who sits at a browser: what they see, and what the browser complains of behind their back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Response

_NAMED = """element => element === document.body || element === null ? null
    : element.dataset.met ??= `${document.querySelectorAll('[data-met]').length} ${element.tagName} ${
        (element.getAttribute('aria-label') ?? element.textContent.trim()) || element.name || element.id}`"""
"""How an element is told from the others, which is noted in it."""

_CONTROLS = f"""[...document.querySelectorAll(
    'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')]
    .filter(element => element.checkVisibility() && !element.disabled).map({_NAMED})"""

WIDE, TABLET, NARROW = 1280, 1000, 400
HEIGHT = 860


class Look(NamedTuple):
    """How a browser is set up."""

    scheme: str = "light"
    width: int = WIDE
    scripts: bool = True

    def __str__(self) -> str:
        return f"{self.scheme}, {self.width} px{'' if self.scripts else ', no scripts'}"


DAY = Look()


class Seat:
    """One browser with a session of its own, at a service that has a console."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        self._awaited = {401}  # a browser asks first, and is told to say who it is
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"an error of the script: {error}"))
        page.on("response", self._answered)

    async def open(self, path: str, status: int = 200) -> Page:
        """The page that stands there, once it is drawn and its script has run."""
        self._awaited.add(status)
        answer = await self.page.goto(self.address + path)
        assert answer is not None
        title = await self.page.title()
        assert answer.status == status, f"{answer.status} from {path}: {title}"
        return self.page

    async def tab_through(self) -> list[str]:
        """What the Tab key reaches, in its order, until it leaves the page."""
        reached: list[str] = []
        await self.page.evaluate("document.activeElement.blur()")
        while True:
            await self.page.keyboard.press("Tab")
            at: str | None = await self.page.evaluate(f"({_NAMED})(document.activeElement)")
            if at is None or (reached and at == reached[0]):
                return reached
            if reached[-1:] != [at]:  # a field for a date has a stop for each of its parts
                reached.append(at)

    async def tab_to(self, name: str) -> None:
        """Press Tab until what is called so has the focus, as somebody without a mouse does."""
        for _ in range(300):
            await self.page.keyboard.press("Tab")
            at: str | None = await self.page.evaluate(f"({_NAMED})(document.activeElement)")
            if at is not None and name in at:
                return
        raise AssertionError(f"no Tab reaches {name!r}")

    async def controls(self) -> list[str]:
        """Everything that a mouse could use, and that is to be seen."""
        found: list[str] = await self.page.evaluate(_CONTROLS)
        return found

    async def width(self) -> int:
        """How wide the page is; more than the window, and one has to move it sideways."""
        found: int = await self.page.evaluate("document.documentElement.scrollWidth")
        return found

    async def violations(self) -> list[str]:
        """What axe finds that keeps somebody out."""
        from axe_playwright_python.base import AXE_SCRIPT

        await self.page.evaluate(AXE_SCRIPT)  # a page's own content policy does not hold for the debugger
        found: dict[str, Any] = await self.page.evaluate("axe.run()")
        return [
            f"{each['id']}: {each['help']}: {', '.join(node['html'] for node in each['nodes'])}"
            for each in found["violations"]
        ]

    def _said(self, message: ConsoleMessage) -> None:
        status = re.search(r"responded with a status of (\d+)", message.text)
        if message.type in ("error", "warning") and not (status and int(status[1]) in self._awaited):
            self.complaints.append(f"the browser's console, {message.type}: {message.text}")

    def _answered(self, answer: Response) -> None:
        if answer.status >= 400 and answer.status not in self._awaited:
            self.complaints.append(f"{answer.status} from {answer.url}")


@asynccontextmanager
async def seat(
    browser: Browser, address: str, user: str, password: str, look: Look = DAY
) -> AsyncIterator[Seat]:
    """Gone at the end; by then its browser must have complained of nothing."""
    context = await browser.new_context(
        http_credentials={"username": user, "password": password},
        color_scheme=look.scheme,
        viewport={"width": look.width, "height": HEIGHT},
        java_script_enabled=look.scripts,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    try:
        context.set_default_timeout(15_000)
        taken = Seat(await context.new_page(), address)
        try:
            yield taken
        except Exception as error:
            error.add_note(f"{taken.page.url} said:\n{await taken.page.inner_text('body')}")
            raise
        assert taken.complaints == []
    finally:
        await context.close()
