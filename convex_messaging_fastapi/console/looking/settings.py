"""The settings that count in this process, where each comes from, and no secret."""

from __future__ import annotations

from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from convex_messaging_fastapi.asyncapi.describing import settings_of
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.settings.telling import origins_of, values_of

UNKNOWN = "not known: its file cannot be read any more"


class Row(NamedTuple):
    name: str
    value: str
    source: str


async def rows_of(desk: Desk) -> list[Row]:
    """Raises `Refused` where the bus could not start with them."""
    with desk.refusing():
        # In a thread: files are read again.
        return await run_in_threadpool(_rows, settings_of(desk.bus))


def _rows(settings: MessagingSettings) -> list[Row]:
    try:
        origins = origins_of(settings)
    except ConfigurationError:
        origins = {}
    return [
        Row(name, _as_text(value), origins.get(name, UNKNOWN)) for name, value in values_of(settings).items()
    ]


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None or value == "" else str(value)
