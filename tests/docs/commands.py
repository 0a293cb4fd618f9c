"""Commands as a page or a tool shows them: typed, answered, and understood without being carried out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import typer

from convex_messaging_fastapi.cli.tree import NAME, tree

CTRL_C = "^C"


class Typed(NamedTuple):
    """One command, or `CTRL_C`, and the lines below it."""

    text: str
    answer: tuple[str, ...]


def typed(console: str) -> Iterator[Typed]:
    """Of one block, in order: `$` begins what is typed."""
    text, answer = "", list[str]()
    for line in console.splitlines():
        if line.startswith("$ ") or line == CTRL_C:
            if text:
                yield Typed(text, tuple(answer))
            text, answer = line.removeprefix("$ "), []
        else:
            answer.append(line)
    yield Typed(text, tuple(answer))


def understood(words: list[str]) -> None:
    """As the command line reads it, which does nothing yet. Raises what Typer says of one that is wrong."""
    command: Any = typer.main.get_command(tree(rich=False))
    context = command.make_context(NAME, list(words))
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)
