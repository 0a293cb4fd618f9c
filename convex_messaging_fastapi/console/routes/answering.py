"""The answers of the API, and the document that describes them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convex_messaging_fastapi.console.api import ANSWERS, Problem, document_of
from convex_messaging_fastapi.console.desk import Desk
from convex_messaging_fastapi.console.routes.serving import answer, base_of, unless_known

DOCUMENT = "/api/openapi.json"

_PROBLEMS = {
    400: "what was asked for cannot be meant",
    404: "there is no such thing",
    409: "it was refused",
    413: "the request is too large",
    429: "too many ask at once, or what was asked for is not there yet: ask again",
    503: "the cluster is away, or the bus does not run: `reason` is a word of the probes",
}


def add_answers(router: APIRouter, desk: Desk) -> None:
    """None of them is in the document of the app: who may see this one asks for it here."""
    described = APIRouter()  # serves nothing: the document is made of it
    for each in ANSWERS:
        endpoint = answer(desk, each.make)
        router.add_api_route(each.path, endpoint, methods=["GET"], include_in_schema=False)
        described.add_api_route(
            each.path,
            endpoint,
            methods=["GET"],
            response_model=each.model,
            summary=each.summary,
            operation_id=each.make.__name__,
            responses={code: {"model": Problem, "description": why} for code, why in _PROBLEMS.items()},
            openapi_extra={"parameters": [parameter.as_openapi() for parameter in each.takes]},
        )

    async def document(request: Request) -> Response:
        return unless_known(request, JSONResponse(document_of(described.routes, base_of(request, DOCUMENT))))

    router.add_api_route(DOCUMENT, document, methods=["GET"], include_in_schema=False)
