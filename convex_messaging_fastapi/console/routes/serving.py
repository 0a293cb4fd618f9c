"""Answers a request as a page or in JSON, whatever comes, and gives each answer its headers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias
from urllib.parse import quote

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.drawing import draw
from convex_messaging_fastapi.console.pages.view import View
from convex_messaging_fastapi.console.security import Refused, add_headers, refuse_large
from convex_messaging_fastapi.console.troubles import Away

_DRAWN = re.compile(rb'<time [^>]*id="drawn">[^<]*</time>')
"""When a page was drawn makes it no other page."""

Shows: TypeAlias = Callable[[Desk, Request], Awaitable[View | Response]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class ConsoleRoute(APIRoute):
    """Looks at the size of a request before anything else does, and gives each answer its headers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                refuse_large(request)
            except Refused as refused:
                response = in_json(refused)
            else:
                response = await handle(request)
            add_headers(response)
            return response

        return handled


def page(desk: Desk, show: Shows, own: str) -> Endpoint:
    """An endpoint that shows this page. `own` is its path in the console."""

    async def shown(request: Request) -> Response:
        base = base_of(request, own)
        try:
            view = await show(desk, request)
        except Refused as refused:
            return refusal(request, base, refused)
        if isinstance(view, Response):
            return view
        return unless_known(request, draw(view.template, request, base, view.values))

    return shown


def answer(desk: Desk, make: Callable[[Desk, Request], Awaitable[BaseModel]]) -> Endpoint:
    """An endpoint that answers in JSON."""

    async def answered(request: Request) -> Response:
        try:
            made = await make(desk, request)
        except Refused as refused:
            return in_json(refused)
        # In ASCII, so that no text in it can be taken for anything else.
        body = json.dumps(made.model_dump(mode="json"), separators=(",", ":"))
        return unless_known(request, Response(body, media_type="application/json"))

    return answered


def refusal(request: Request, base: str, refused: Refused) -> Response:
    """As a page."""
    reason = refused.reason if isinstance(refused, Away) else ""
    values = {"title": refused.title, "trouble": refused, "reason": reason}
    return _later(draw("trouble.html", request, base, values, refused.status), refused)


def in_json(refused: Refused) -> Response:
    """The same for programs."""
    said = {"error": refused.title, "help": refused.help}
    if isinstance(refused, Away):
        said["reason"] = refused.reason
    return _later(JSONResponse(said, refused.status), refused)


def unless_known(request: Request, response: Response) -> Response:
    """304 for who has this answer already."""
    said = _DRAWN.sub(b"", bytes(response.body))
    etag = f'"{hashlib.sha256(said).hexdigest()[:20]}"'
    return known(request, etag) or _tagged(response, etag)


def known(request: Request, etag: str) -> Response | None:
    given = request.headers.get("if-none-match", "")
    if etag in (each.strip().removeprefix("W/") for each in given.split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    return None


def base_of(request: Request, own: str) -> str:
    """The address of the console as the browser has it: of the path alone, for TLS may end at a proxy."""
    root: str = request.scope.get("root_path", "").rstrip("/")
    path: str = request.scope["path"]
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    asked_for = own.replace(":path}", "}").format(**request.path_params)
    return quote(f"{root}{path.removesuffix(asked_for)}".rstrip("/"))


def _later(response: Response, refused: Refused) -> Response:
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    return response


def _tagged(response: Response, etag: str) -> Response:
    response.headers["ETag"] = etag
    return response
