"""The README in pieces: its fenced blocks, its sections, and where each block stands."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support.services import ROOT

README = (ROOT / "README.md").read_text()

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block; `line` is that of its first line in the README."""

    language: str
    text: str
    line: int


def _blocks() -> tuple[Block, ...]:
    return tuple(
        Block(found[1], found[2], README.count("\n", 0, found.start(2)) + 1)
        for found in _FENCE.finditer(README)
    )


BLOCKS = _blocks()
PYTHON = tuple(block for block in BLOCKS if block.language == "python")
COMMANDS = tuple(block for block in BLOCKS if block.language == "sh")
FIRST = PYTHON[0].text
"""The first program, which the reader saves as `main.py`."""

PROSE = _FENCE.sub("", README)
HEADINGS = tuple(_HEADING.findall(PROSE))


def block(showing: str) -> Block:
    """The one block with these words in it."""
    (found,) = (each for each in BLOCKS if showing in each.text)
    return found


def anchor(heading: str) -> str:
    """What a link to this heading is called."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
