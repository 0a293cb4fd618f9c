"""Serves the AsyncAPI document of a bus, and the page about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fastapi.routing import iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from convex_messaging_fastapi.asyncapi.describing import document_of, settings_of
from convex_messaging_fastapi.asyncapi.operations import Declared, declared_on
from convex_messaging_fastapi.asyncapi.showing import POLICY, page
from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.settings import MessagingSettings

DOCUMENT, PAGE = "/asyncapi.json", "/asyncapi"


class _Of(NamedTuple):
    """All that a document is made of."""

    declared: Declared
    settings: MessagingSettings
    app: Any


class _Made(NamedTuple):
    """What is served, and what it was made of."""

    of: _Of
    document: bytes
    page: str


class Described:
    """The endpoints of one bus. What they answer is made anew only when something else is declared."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self._last: _Made | None = None

    async def document(self, request: Request) -> Response:
        return Response((await self._made(request)).document, media_type="application/json")

    async def page(self, request: Request) -> Response:
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse((await self._made(request)).page, headers=headers)

    async def _made(self, request: Request) -> _Made:
        of = _Of(declared_on(self.bus._declarations), settings_of(self.bus), request.app)
        last = self._last
        if last is None or last.of != of:
            # In a thread: that of a hundred messages takes a good part of a second.
            last = self._last = await run_in_threadpool(_make, of)
        return last


def _make(of: _Of) -> _Made:
    told = document_of(*of)
    source = DOCUMENT.removeprefix("/")  # beside the page, wherever a prefix or a proxy puts both
    return _Made(of, bytes(JSONResponse(told).body), page(told, source=source))


def described_among(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, Described]]:
    """Those among these routes, included routers too, each with its path."""
    for context in iter_route_contexts(routes):
        described = getattr(getattr(context.original_route, "endpoint", None), "__self__", None)
        if isinstance(described, Described) and context.path is not None:
            yield context.path, described
