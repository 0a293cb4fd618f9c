"""Probes over HTTP. They answer from memory, with words of a closed list alone."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.misuse import kind_of
from convex_messaging_fastapi.plugin.details import details_of
from convex_messaging_fastapi.verdicts import STATUSES, Readiness, Verdict, live, ready, startup

HEALTH_PREFIX = "/health/kafka"

ANY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")

Details: TypeAlias = Callable[[Request], bool | Awaitable[bool]]
"""Whether this request may see details. It may raise an `HTTPException` to refuse any answer; any other
exception counts as no, and its type is logged."""

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class ProbeAnswer(BaseModel):
    """The answer of a probe, in words of closed lists."""

    status: str = Field(description=f"the worst that is so, of {', '.join(STATUSES)}")
    reasons: list[str] = Field([], description="why, the worst first; left out when there is none")


@dataclass(frozen=True, slots=True)
class Probes:
    """The endpoints of one bus."""

    bus: MessageBus
    readiness: Readiness
    details: Details | None

    async def summary(self, request: Request) -> Response:
        status = self.bus.status()
        verdict = ready(status, self.readiness)
        if await self._may_see_details(request):
            return _answer(request, verdict, _public(verdict) | details_of(status))
        return _answer(request, verdict, _public(verdict))

    async def summary_with_details(self, request: Request) -> Response:
        """The answer with details, for callers that FastAPI's dependencies have let in."""
        status = self.bus.status()
        verdict = ready(status, self.readiness)
        return _answer(request, verdict, _public(verdict) | details_of(status))

    async def live(self, request: Request) -> Response:
        verdict = live(self.bus.status())
        return _answer(request, verdict, _public(verdict))

    async def ready(self, request: Request) -> Response:
        verdict = ready(self.bus.status(), self.readiness)
        return _answer(request, verdict, _public(verdict))

    async def startup(self, request: Request) -> Response:
        verdict = startup(self.bus.status())
        return _answer(request, verdict, _public(verdict))

    async def _may_see_details(self, request: Request) -> bool:
        if self.details is None:
            return False
        # In a thread, because a function that looks up a session may block; calling an async one
        # there only makes its coroutine.
        try:
            allowed = await run_in_threadpool(self.details, request)
            return (await allowed if inspect.isawaitable(allowed) else allowed) is True
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - any error means that it did not say yes
            reports.details_failed(error)
            return False

    async def not_found(self, request: Request) -> Response:
        """Paths with a slash at the end are none of ours."""
        raise HTTPException(404)


def health_routes(
    bus: MessageBus,
    *,
    prefix: str = HEALTH_PREFIX,
    readiness: Readiness = "kafka",
    details: Details | None = None,
) -> list[BaseRoute]:
    """`GET` and `HEAD` of `prefix`, `/live`, `/ready` and `/startup` below it, for any Starlette app.

    They answer 200 or 503, and `{"status": ..., "reasons": [...]}`. `/live` fails only for what a restart
    repairs. `/startup` waits for the bus to start, not for Kafka. `/ready` depends on contact with Kafka,
    or with `readiness="http"` only on the bus running. `prefix` itself has the status code of `/ready`,
    and shows hosts, topics and groups if `details` says that the request may see them. None of them
    appears in the OpenAPI document.
    """
    check(bus, prefix, readiness)
    if not (details is None or callable(details)):
        raise ConfigurationError(
            f"`details` of health_routes is a function of the request, not {kind_of(details)}; `Depends` "
            "needs FastAPI: MessagingRouter(bus, details=[Depends(...)])"
        )
    probes = Probes(bus, readiness, details)
    return routes_of(probes, prefix, endpoints_of(probes))


def endpoints_of(probes: Probes) -> dict[str, Endpoint]:
    return {
        "": probes.summary,
        "/live": probes.live,
        "/ready": probes.ready,
        "/startup": probes.startup,
    }


def routes_of(probes: Probes, prefix: str, endpoints: Mapping[str, Endpoint]) -> list[BaseRoute]:
    # Not FastAPI's own routes: those inherit the app's dependencies, and a kubelet cannot log in.
    probed = [
        Route(prefix + path, endpoint, methods=["GET"], include_in_schema=False)
        for path, endpoint in endpoints.items()
    ]
    # Or Starlette would redirect to the path without the slash, at any host that the request names.
    slashed = [
        Route(f"{prefix}{path}/", probes.not_found, methods=ANY_METHOD, include_in_schema=False)
        for path in endpoints_of(probes)
    ]
    return [*probed, *slashed]


def probes_among(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, Probes]]:
    """The probes among these routes, included routers too, each with its path."""
    for context in iter_route_contexts(routes):
        probes = getattr(getattr(context.original_route, "endpoint", None), "__self__", None)
        if isinstance(probes, Probes) and context.path is not None:
            yield context.path, probes


def check(bus: MessageBus, prefix: str, readiness: Readiness) -> None:
    if not isinstance(bus, MessageBus):
        raise ConfigurationError(f"probes are those of a MessageBus, not of {kind_of(bus)}")
    if not prefix.startswith("/") or prefix.endswith("/"):
        raise ConfigurationError(
            f"the prefix of the probes begins with a slash and does not end with one, unlike {prefix!r}"
        )
    if readiness not in get_args(Readiness):
        raise ConfigurationError(f"readiness is 'kafka' or 'http', not {readiness!r}")


def _public(verdict: Verdict) -> dict[str, Any]:
    if verdict.reasons:
        return {"status": verdict.status, "reasons": list(verdict.reasons)}
    return {"status": verdict.status}


def _answer(request: Request, verdict: Verdict, body: Mapping[str, Any]) -> Response:
    response = JSONResponse(body, 200 if verdict.ok else 503, headers={"Cache-Control": "no-store"})
    if request.method == "HEAD":
        response.body = b""  # its headers stay those of GET
    return response
