"""`settings`: what counts, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from convex_messaging_fastapi.cli.command import command
from convex_messaging_fastapi.cli.session import Session

if TYPE_CHECKING:
    from convex_messaging_fastapi.settings import MessagingSettings

HIDDEN = "(set, not shown)"


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
    values = _shown(session.settings)
    origins = _origins(session.settings) if sources else {}
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


def _shown(settings: MessagingSettings) -> dict[str, Any]:
    """By name, in the order of its page; a secret as whether it is set."""
    from pydantic import SecretStr

    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {
        name: HIDDEN if isinstance(value, SecretStr) or callable(value) else value
        for name, value in given.items()
    }


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else str(value)


def _origins(settings: MessagingSettings) -> dict[str, str]:
    """Settings do not remember their sources, so those are read again: what differs was given in code."""
    from convex_messaging_fastapi.errors import ConfigurationError
    from convex_messaging_fastapi.settings.sources import read

    kind = type(settings)
    reading = read(kind, {}, within=False)
    try:
        outside: MessagingSettings | None = kind()
    except ConfigurationError:
        outside = None
    return {
        name: reading.origin(name)
        if outside is not None and getattr(outside, name) == getattr(settings, name)
        else "given in code, or on the command line"
        for name in kind.model_fields
    }
