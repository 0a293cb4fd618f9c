"""The options by which letters are chosen, and the `Filter` that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convex_messaging_fastapi.cli.command import Shared
from convex_messaging_fastapi.cli.words import instant

if TYPE_CHECKING:
    from convex_messaging_fastapi.operations import Filter

    Wanted = Filter
else:
    Wanted = Any  # Typer reads annotations, and must not load it

State = Literal["open", "waiting", "replayed", "failed-again", "discarded", "unknown", "expires-soon", "all"]

_PANEL = "Which letters"

OPEN_ALONE = "only open letters are meant, unless --state says otherwise"
"""What somebody is told whose filter means none."""


def _text(help: str, name: str) -> Any:
    return Annotated[str | None, typer.Option(name, help=help, rich_help_panel=_PANEL)]


OPTIONS: dict[str, tuple[Any, Any]] = {
    "topic": (_text("Of the message that failed.", "--topic"), None),
    "group": (_text("The consumer group; - for letters that tell none.", "--group"), None),
    "handler": (_text("The handler that failed.", "--handler"), None),
    "exception": (_text("The exception's type.", "--type"), None),
    "text": (_text("In the error, the key or the value.", "--text"), None),
    "since": (_text("Failed then or later, as 2026-11-01T00:00.", "--since"), None),
    "until": (_text("Failed before.", "--until"), None),
    "state": (
        Annotated[State, typer.Option("--state", help="What became of it.", rich_help_panel=_PANEL)],
        "open",
    ),
    "group_id": (_text("Of one group of the list.", "--group-id"), None),
    "min_replays": (
        Annotated[int, typer.Option("--min-replays", min=0, help="At least.", rich_help_panel=_PANEL)],
        0,
    ),
}


def _made(**given: Any) -> Wanted:
    """Raises `Ended` and `ConfigurationError` for what cannot be meant."""
    from convex_messaging_fastapi.operations import Filter

    for name in ("since", "until"):
        given[name] = None if given[name] is None else instant(given[name])
    given["state"] = given["state"].replace("-", "_")
    return Filter(**given)


FILTER = Shared("wanted", OPTIONS, _made)


def words_of(wanted: Wanted) -> list[str]:
    """The options that make this filter."""
    words: list[str] = []
    for name, (_, default) in OPTIONS.items():
        value = getattr(wanted, name)
        option = "--type" if name == "exception" else f"--{name.replace('_', '-')}"
        if value is not None and value != default:
            text = value.isoformat() if hasattr(value, "isoformat") else str(value)
            words += [option, text.replace("_", "-") if name == "state" else text]
    return words
