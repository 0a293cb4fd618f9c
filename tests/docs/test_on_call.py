"""The page for those on call: each reason of a probe is on it, and each exit code."""

from __future__ import annotations

import re

from convex_messaging_fastapi.cli.exits import ExitCode
from convex_messaging_fastapi.verdicts import REASONS
from tests.readme.reading import PAGES

PAGE = PAGES["on-call.md"]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    below = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_reason_has_one_row() -> None:
    named = [reason for row in rows("What a probe says") for reason in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(REASONS)


def test_each_exit_code_has_one_row() -> None:
    assert [int(row[0]) for row in rows("What a command ends with")] == sorted(ExitCode)
