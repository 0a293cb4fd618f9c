"""`settings`: what counts, and where it comes from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.session import Session


def add_to(root: typer.Typer) -> None:
    command(root, "settings")(settings)


def settings(
    session: Session,
    sources: Annotated[bool, typer.Option("--sources", help="Where each value comes from.")] = False,
) -> None:
    """Show the settings that count here. Secrets are never shown.

    Those of the app where one was named for this command line (--app, CONVEX_APP, [tool.convex-messaging]),
    else as they stand in variables and files.
    """
    from convex_messaging_fastapi.settings.telling import origins_of, values_of

    values = values_of(session.settings)
    origins = origins_of(session.settings) if sources else {}
    if session.out.as_json:
        session.out.json(
            {name: {"value": value, "source": origins[name]} for name, value in values.items()}
            if sources
            else values
        )
        return
    columns = ("SETTING", "VALUE", "SOURCE") if sources else ("SETTING", "VALUE")
    rows = [(name, _as_text(value), *([origins[name]] if sources else [])) for name, value in values.items()]
    session.out.table(columns, rows)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else str(value)
