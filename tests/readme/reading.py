"""The README and the pages of `docs/` in pieces: fenced blocks, headings, and where each block stands."""

from __future__ import annotations

import re
from textwrap import dedent
from typing import NamedTuple

from tests.support.services import ROOT

PAGES = {path.name: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
README = PAGES["README.md"]
BOOK = "\n\n".join(PAGES.values())
"""All of them, for what must stand somewhere."""

_TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests" / "docs").glob("test_*.py")))
WITH_TESTS_OF_THEIR_OWN = {
    page for page in PAGES if re.search(rf'"{re.escape(page.removesuffix(".md"))}(?:\.md)?"', _TESTS)
}
"""Pages that a test of `tests/docs` names: it plays their blocks. What all pages share is tested here."""

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block; `line` is that of its first line in the page."""

    language: str
    text: str
    line: int
    page: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}, line {self.line}"


def blocks(text: str, page: str = "") -> tuple[Block, ...]:
    return tuple(
        Block(found[1], dedent(found[2]), text.count("\n", 0, found.start(2)) + 1, page)
        for found in _FENCE.finditer(text)
    )


def prose(text: str) -> str:
    """What is in no fenced block."""
    return _FENCE.sub("", text)


def headings(page: str) -> set[str]:
    """What links to the headings of a page are called."""
    return {anchor(heading) for heading in _HEADING.findall(prose(PAGES[page]))}


BLOCKS = tuple(
    block
    for page, text in PAGES.items()
    if page not in WITH_TESTS_OF_THEIR_OWN
    for block in blocks(text, page)
)
PYTHON = tuple(block for block in BLOCKS if block.language == "python")
COMMANDS = tuple(block for block in BLOCKS if block.language == "sh")
FIRST = next(block.text for block in PYTHON if block.page == "first-service.md")
"""The first program, which the reader saves as `main.py`."""

PROSE = prose(BOOK)


def block(showing: str) -> Block:
    """The one block with these words in it."""
    (found,) = (each for each in BLOCKS if showing in each.text)
    return found


def anchor(heading: str) -> str:
    """What a link to this heading is called."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
