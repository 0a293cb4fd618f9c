"""Commands that belong together, and that share a word: `topics list`, `topics show`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class Family(TyperGroup):
    """Typer asks pydantic about the value of each option, of those that are not there, too.

    Loading it takes longer than all the rest of a help. A group's options come before its command, so
    where that comes first there is none to ask about.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0].startswith("-"):
            return super().parse_args(ctx, args)
        options, self.params, self.add_help_option = self.params, [], False
        try:
            return super().parse_args(ctx, args)
        finally:
            self.params, self.add_help_option = options, True


def family(root: typer.Typer, name: str, help: str, *, alias: str | None = None) -> typer.Typer:
    """A new one, below `root`; an alias is understood, and not listed."""
    made = typer.Typer(cls=Family, help=help, no_args_is_help=True)
    root.add_typer(made, name=name)
    if alias is not None:
        root.add_typer(made, name=alias, hidden=True)
    return made
