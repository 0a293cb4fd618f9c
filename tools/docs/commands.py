"""The reference of the command line: the help of each command, as it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from convex_messaging_fastapi.cli.tree import NAME, tree


def pages() -> Iterator[tuple[str, str]]:
    parts = [
        "# Each command",
        f"What `{NAME} COMMAND --help` prints. What they are for is told [elsewhere](command-line.md).",
    ]
    for name, text in helps():
        parts += [f"## {name}", f"```text\n{text.strip()}\n```"]
    yield "commands.md", "\n\n".join(parts) + "\n"


def helps() -> Iterator[tuple[str, str]]:
    """Name and help of each command that does something."""
    root: Any = typer.main.get_command(tree(rich=False))
    yield from _below(root, root.make_context(NAME, [], resilient_parsing=True))


def _below(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    if not hasattr(command, "list_commands"):
        yield context.command_path, command.get_help(context)
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if not inner.hidden:
            yield from _below(inner, inner.make_context(name, [], parent=context, resilient_parsing=True))
