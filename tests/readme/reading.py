"""The README in pieces: its fenced blocks, its sections, and where each block stands."""

from __future__ import annotations

import re
from textwrap import dedent
from typing import NamedTuple

from tests.support.services import ROOT

README = (ROOT / "README.md").read_text()

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block; `line` is that of its first line in the text."""

    language: str
    text: str
    line: int


def blocks(text: str) -> tuple[Block, ...]:
    return tuple(
        Block(found[1], dedent(found[2]), text.count("\n", 0, found.start(2)) + 1)
        for found in _FENCE.finditer(text)
    )


def prose(text: str) -> str:
    """What is in no fenced block."""
    return _FENCE.sub("", text)


BLOCKS = blocks(README)
PYTHON = tuple(block for block in BLOCKS if block.language == "python")
COMMANDS = tuple(block for block in BLOCKS if block.language == "sh")
FIRST = PYTHON[0].text
"""The first program, which the reader saves as `main.py`."""

PROSE = prose(README)
HEADINGS = tuple(_HEADING.findall(PROSE))


def block(showing: str) -> Block:
    """The one block with these words in it."""
    (found,) = (each for each in BLOCKS if showing in each.text)
    return found


def anchor(heading: str) -> str:
    """What a link to this heading is called."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
