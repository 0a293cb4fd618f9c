"""Draws a page from a template. Every text in it is escaped, and shown without power over the page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from convex_messaging_fastapi.console.assets import asset
from convex_messaging_fastapi.console.inert import carried, inert_lines
from convex_messaging_fastapi.console.wording import JOBS, NOT_REPLAYED, REASONS, STATES, STATUSES, VERDICTS
from convex_messaging_fastapi.errors import ConfigurationError

if TYPE_CHECKING:
    from jinja2 import Environment

NAVIGATION = (
    ("", "Overview"),
    ("/subscriptions", "Subscriptions"),
    ("/dead-letters", "Dead letters"),
    ("/jobs", "Jobs"),
    ("/outboxes", "Outboxes"),
    ("/tail", "Live tail"),
    ("/settings", "Settings"),
    ("/asyncapi", "Messages"),
)


@cache
def environment() -> Environment:
    """Raises `ConfigurationError` where Jinja is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ConfigurationError(
            "messaging_console needs Jinja: pip install 'convex-messaging-fastapi[console]'"
        ) from error
    made = Environment(
        loader=PackageLoader("convex_messaging_fastapi.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_inert_text,
    )
    made.filters |= {
        "lines": inert_lines, "number": number, "many": many, "share": share, "seconds": seconds,
        "moment": moment, "iso": iso, "size": size, "exact": Exact,
    }  # fmt: skip
    made.globals |= {
        "REASONS": REASONS, "STATUSES": STATUSES, "STATES": STATES, "VERDICTS": VERDICTS, "JOBS": JOBS,
        "NOT_REPLAYED": NOT_REPLAYED, "NAVIGATION": NAVIGATION,
    }  # fmt: skip
    return made


def draw(
    template: str, request: Request, base: str, values: Mapping[str, Any], status: int = 200
) -> Response:
    """`base` is the address of the console, to which all addresses are relative."""
    now = datetime.now(UTC)
    every = {"base": base, "now": now, "path": request.scope["path"], "version": _version(), **values}
    return HTMLResponse(environment().get_template(template).render(every), status)


def number(value: float | None) -> str:
    """With thousands apart; a dash for what is not known."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def many(count: int | None, what: str, several: str = "") -> str:
    """`1 letter`, `2 letters`."""
    return f"{number(count)} {what if count == 1 else several or what + 's'}"


def share(part: int, whole: int) -> str:
    return f"{100 * part // whole if whole else 0} %"


def seconds(value: float | None) -> str:
    """In the unit that fits."""
    if value is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= length:
            return f"{value / length:.3g} {unit}"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.0f} ms"


def moment(value: datetime | None) -> str:
    """In UTC, to the second."""
    return "-" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def iso(value: datetime | None) -> str:
    return "" if value is None else value.astimezone(UTC).isoformat(timespec="seconds")


def size(value: int) -> str:
    for unit, length in (("MiB", 1024**2), ("KiB", 1024)):
        if value >= length:
            return f"{value / length:.3g} {unit}"
    return f"{value} B"


class Exact:
    """A text that a form sends back as it is: escaped for HTML, and with every character that it has."""

    def __init__(self, text: object) -> None:
        self._text = carried(str(text))

    def __html__(self) -> str:
        return html.escape(self._text)


def _inert_text(value: Any) -> Any:
    """What a template is about to write. Markup, which is made of what was escaped already, stays."""
    if type(value) is str:
        return inert_lines(value)
    return value


@cache
def _version() -> Mapping[str, str]:
    """A hash of each asset: a page that is newer than the browser's script says so."""
    found = {name: asset(name) for name in ("console.css", "console.js")}
    return {name: each.etag.strip('"') for name, each in found.items() if each is not None}
