"""Pictures of pages for the documentation: small, and without a name of the machine they were made on."""

from __future__ import annotations

import os
import socket
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Page

FOLDER = os.environ.get("SCREENSHOTS")
"""Where `make screenshots` wants them; without it none are made."""

MOST_BYTES = 80_000
COLOURS = (128, 64, 32)

_NAMELESS = """names => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = names.reduce(
        (text, [name, other]) => text.replaceAll(name, other),
        texts.currentNode.data.replace(/test-[a-z-]+-[0-9a-f]{8}/g, "convex"));
}"""
"""A name of this machine, and the prefix that a test has for itself."""


async def picture(page: Page, name: str) -> None:
    """What the window shows now, as `{name}.png`."""
    if FOLDER is None:
        return
    host = socket.gethostname()
    await page.evaluate(_NAMELESS, [[f"{host}:", "bets-7c9f:"], [f"on {host}", "on bets-7c9f"]])
    shown = await page.evaluate(
        "({width: innerWidth, height: Math.min(innerHeight, document.body.scrollHeight)})"
    )
    data = await page.screenshot(animations="disabled", caret="hide", clip={"x": 0, "y": 0, **shown})
    _keep(Path(FOLDER), name, small(data))


def _keep(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(data)


def small(data: bytes) -> bytes:
    """The same picture in few colours, those of a thin line among them: flat pages have few."""
    from PIL import Image

    whole = Image.open(BytesIO(data)).convert("RGB")
    for colours in COLOURS:
        written = BytesIO()
        fewer = whole.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        fewer.save(written, "PNG", optimize=True)
        if len(written.getvalue()) <= MOST_BYTES:
            return written.getvalue()
    raise AssertionError(f"{len(written.getvalue())} bytes: show less of the page")
