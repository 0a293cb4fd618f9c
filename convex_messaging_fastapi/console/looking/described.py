"""The AsyncAPI document of what this app has declared."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from convex_messaging_fastapi.asyncapi.describing import document_of, settings_of
from convex_messaging_fastapi.asyncapi.operations import declared_on
from convex_messaging_fastapi.console.desk import Desk


async def document_for(desk: Desk, request: Request) -> dict[str, Any]:
    """Raises `Refused` where the bus could not start with what is declared."""
    with desk.refusing():
        of = declared_on(desk.bus._declarations), settings_of(desk.bus), request.app
        # In a thread: that of a hundred messages takes a good part of a second.
        return await run_in_threadpool(document_of, *of)
