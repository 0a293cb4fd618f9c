"""The page for those on call: each reason of a probe is on it, and each command is one that there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from convex_messaging_fastapi.cli.exits import ExitCode
from convex_messaging_fastapi.cli.tree import NAME
from convex_messaging_fastapi.verdicts import REASONS
from tests.docs.commands import understood
from tests.readme.reading import anchor, blocks, prose
from tests.support.services import ROOT

PAGES = [(ROOT / "docs" / name).read_text() for name in ("on-call.md", "ninety-seconds.md")]
PAGE = PAGES[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    below = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def commands(page: str) -> list[str]:
    """In blocks and in sentences, without what a shell would make of it."""
    lines = [
        line.removeprefix("$ ")
        for block in blocks(page)
        if block.language in ("sh", "console")
        for line in block.text.splitlines()
    ]
    found = [*lines, *re.findall(rf"`({NAME} [^`]+)`", prose(page))]
    return [line.partition(" > ")[0] for line in found if line.startswith(f"{NAME} ")]


def test_each_reason_has_one_row() -> None:
    named = [reason for row in rows("What a probe says") for reason in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(REASONS)


def test_each_exit_code_has_one_row() -> None:
    assert [int(row[0]) for row in rows("What a command ends with")] == sorted(ExitCode)


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page)}))
def test_each_command_is_understood(line: str) -> None:
    _, *words = shlex.split(line.replace("COMMAND --help", "doctor"))
    understood(words)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("lagg", "No such command"),
        ("dead-letters replay --sped 9", "No such option"),
        ("dead-letters list --by size", "is not one of"),
        ("topics show", "Missing parameter|Missing argument"),
        ("tail orders --from", "requires an argument"),
    ],
)
def test_one_that_is_not_is_found(words: str, why: str) -> None:
    with pytest.raises(Exception, match=why):
        understood(shlex.split(words))


def test_all_that_is_linked_is_there() -> None:
    for page in PAGES:
        links = re.findall(r"\]\((?!http)([^)]+)\)", page)
        assert links
        headings = {anchor(each) for each in re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE)}
        assert {link[1:] for link in links if link.startswith("#")} <= headings
        assert not [each for each in links if each[0] != "#" and not Path(ROOT, "docs", each).exists()]
