"""The pages that only show, and the files that they load."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from convex_messaging_fastapi.console.assets import asset
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.pages import (
    asyncapi,
    jobs,
    letter,
    letters,
    outboxes,
    overview,
    settings,
    subscriptions,
    tail,
)
from convex_messaging_fastapi.console.routes.serving import Shows, base_of, known, page, refusal
from convex_messaging_fastapi.console.security import Refused

PAGES: tuple[tuple[str, Shows], ...] = (
    ("", overview.overview),
    ("/subscriptions", subscriptions.subscriptions),
    ("/dead-letters", letters.groups),
    ("/dead-letters/list", letters.letters),
    ("/dead-letters/group/{group_id}", letters.letters),
    ("/dead-letters/validate", letters.validation),
    ("/jobs", jobs.jobs),
    ("/jobs/{id}", jobs.job),
    ("/outboxes", outboxes.outboxes),
    ("/tail", tail.tail),
    ("/settings", settings.settings),
    ("/asyncapi", asyncapi.asyncapi),
)

ONE_LETTER: tuple[tuple[str, Shows], ...] = (
    ("/dead-letters/{id:path}", letter.letter),
    ("/download/{id:path}", letter.download),
)
"""After all others below the same path: an id has slashes in it."""

ASSET = "/assets/{name}"


def add_pages(router: APIRouter, desk: Desk, pages: tuple[tuple[str, Shows], ...]) -> None:
    for path, show in pages:
        router.add_api_route(path, page(desk, show, path), methods=["GET"], include_in_schema=False)


def add_files(router: APIRouter) -> None:
    """Plain routes: what is mounted would not ask the dependencies."""

    async def file(request: Request) -> Response:
        found = asset(request.path_params["name"])
        if found is None:
            return refusal(request, base_of(request, ASSET), Refused(404, "There is no such file.", ""))
        headers = {"ETag": found.etag, "Cache-Control": "private, no-cache"}
        if (same := known(request, found.etag)) is not None:
            same.headers["Cache-Control"] = headers["Cache-Control"]
            return same
        return Response(found.content, headers=headers | {"Content-Type": found.kind})

    async def with_a_slash(request: Request) -> Response:
        # Starlette would redirect to whatever host the request names.
        return RedirectResponse(base_of(request, "/") or "/", 307)

    router.add_api_route(ASSET, file, methods=["GET"], include_in_schema=False)
    router.add_api_route("/", with_a_slash, methods=["GET"], include_in_schema=False)
