"""Serves the AsyncAPI document of a bus, and the page about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from convex_messaging_fastapi.asyncapi.document import document_of, settings_of
from convex_messaging_fastapi.asyncapi.page import POLICY, page
from convex_messaging_fastapi.bus import MessageBus

DOCUMENT, PAGE = "/asyncapi.json", "/asyncapi"


class _Made(NamedTuple):
    """What is served, and what it was made of."""

    of: tuple[Any, ...]
    document: bytes
    page: str


class Described:
    """The endpoints of one bus. What they answer is made anew only when something else is declared."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self._last: _Made | None = None

    async def document(self, request: Request) -> Response:
        return Response(self._made(request).document, media_type="application/json")

    async def page(self, request: Request) -> Response:
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(self._made(request).page, headers=headers)

    def _made(self, request: Request) -> _Made:
        settings, declared = settings_of(self.bus), self.bus._declarations
        of = (settings, tuple(declared), declared.publications, request.app)
        if self._last is None or self._last.of != of:
            told = document_of(declared, settings, request.app)
            source = DOCUMENT.removeprefix("/")  # beside the page, wherever a prefix or a proxy puts both
            self._last = _Made(of, bytes(JSONResponse(told).body), page(told, source=source))
        return self._last


def described_among(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, Described]]:
    """Those among these routes, included routers too, each with its path."""
    for context in iter_route_contexts(routes):
        described = getattr(getattr(context.original_route, "endpoint", None), "__self__", None)
        if isinstance(described, Described) and context.path is not None:
            yield context.path, described
