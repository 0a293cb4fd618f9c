"""The commands of the README and of the pages, as they are typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from tests.readme.reading import COMMANDS


def lines() -> Iterator[str]:
    """One command each, remarks left away; what is joined by `&&` is several."""
    for found in COMMANDS:
        for line in found.text.splitlines():
            yield from (part.strip() for part in line.split("  #")[0].split(" && "))


def begun_with(word: str) -> list[list[str]]:
    return [words for line in lines() if (words := shlex.split(line)) and words[0] == word]


def served_with(broker: str) -> dict[str, str]:
    """The variables of the one `uvicorn main:app` for this broker."""
    (command,) = (
        line
        for line in lines()
        if "uvicorn main:app" in line and f"KAFKA_BOOTSTRAP_SERVERS={broker} " in line
    )
    return dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)
