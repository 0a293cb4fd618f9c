"""The router that adds a bus to a FastAPI app by `include_router` alone: its lifespan and its probes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Never, TypeAlias

from fastapi import APIRouter, params

from convex_messaging_fastapi import misuse
from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import ConfigurationError
from convex_messaging_fastapi.plugin.described import DOCUMENT, PAGE, Described, described_among
from convex_messaging_fastapi.plugin.health import (
    HEALTH_PREFIX,
    Details,
    ProbeAnswer,
    Probes,
    check,
    endpoints_of,
    probes_among,
    routes_of,
)
from convex_messaging_fastapi.verdicts import Readiness

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


class MessagingRouter(APIRouter):
    """Starts and stops the bus with the app that includes this, and answers probes for it.

        bus = MessageBus()
        app = FastAPI()
        app.include_router(MessagingRouter(bus))

    The app's own lifespan is outermost: what it opens is there before the bus starts and until the
    bus has drained. Include the router once; other routers may be in between. It does not work in an app
    that is *mounted*, since the lifespans of mounted apps never run.

    `health_prefix` is the path of the probes; two buses of one app need two. `readiness` and `details`
    are those of `health_routes`. With `details=[Depends(...)]`, as in FastAPI, `health_prefix` itself
    answers, with details, only callers that these dependencies and those of the app let in. No other
    dependency of the app or of `include_router` applies to the probes; middleware does.
    `include_in_schema` shows the probes in the OpenAPI document.

    `asyncapi=True` serves what the bus has declared at `/asyncapi.json`, and a page about it at `/asyncapi`.
    Both tell hosts, topics and groups. Unlike the probes they are for those whom the dependencies of the app
    and of `include_router` let in.

    `lifespan` runs around that of the bus, and inside the app's. What it yields is in the `conn.state`
    of requests and of handlers; what the app's own lifespan yields reaches requests alone.
    """

    def __init__(
        self,
        bus: MessageBus,
        *,
        health_prefix: str = HEALTH_PREFIX,
        readiness: Readiness = "kafka",
        details: Details | Sequence[params.Depends] | None = None,
        include_in_schema: bool = False,
        asyncapi: bool = False,
        lifespan: Lifespan | None = None,
        **others: Never,
    ) -> None:
        for other in others:
            raise ConfigurationError(misuse.no_choice_of_a_router(other, CHOICES))
        if not isinstance(bus, MessageBus):
            raise ConfigurationError(misuse.no_bus(bus))
        check(bus, health_prefix, readiness)
        needed = _dependencies(details)
        probes = Probes(bus, readiness, details if callable(details) else None)
        plain = endpoints_of(probes)
        if needed:
            del plain[""]
        super().__init__(routes=routes_of(probes, health_prefix, plain), lifespan=_around(bus, lifespan))
        if needed:
            self._ask_for(needed, probes, health_prefix, include_in_schema)
        if include_in_schema:
            self._describe(plain, health_prefix)
        if asyncapi:
            described = Described(bus)
            self.add_api_route(DOCUMENT, described.document, include_in_schema=False)
            self.add_api_route(PAGE, described.page, include_in_schema=False)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            sentence = misuse.no_attribute_of_a_router(name, dir(MessageBus))
            raise AttributeError(sentence, name=name, obj=self)

    def _ask_for(self, needed: Sequence[params.Depends], probes: Probes, prefix: str, shown: bool) -> None:
        for method in ("GET", "HEAD"):
            self.add_api_route(
                prefix,
                probes.summary_with_details,
                methods=[method],
                dependencies=needed,
                include_in_schema=shown and method == "GET",
                **_DESCRIBED,
            )

    def _describe(self, endpoints: dict[str, Any], prefix: str) -> None:
        """Routes that FastAPI describes in the OpenAPI document; the plain ones before them answer."""
        for path, endpoint in endpoints.items():
            self.add_api_route(prefix + path, endpoint, methods=["GET"], **_DESCRIBED)


CHOICES = tuple(
    parameter.name
    for parameter in inspect.signature(MessagingRouter.__init__).parameters.values()
    if parameter.kind is parameter.KEYWORD_ONLY
)

_DESCRIBED: dict[str, Any] = {
    "tags": ["health"],
    "response_model": ProbeAnswer,
    "response_model_exclude_unset": True,
    "responses": {503: {"model": ProbeAnswer, "description": "Not now: `reasons` say why"}},
}


def _dependencies(details: object) -> Sequence[params.Depends]:
    """Those of `details=[Depends(...)]`; none if it is a function or was not given."""
    if details is None or callable(details):
        return ()
    if not isinstance(details, Sequence) or not details or not all(map(_is_dependency, details)):
        raise ConfigurationError(
            "`details` is a function of the request that says whether it may see details, or a list such as "
            f"[Depends(require_admin)], not {details!r}"
        )
    return details


def _is_dependency(value: object) -> bool:
    return isinstance(value, params.Depends)


def _around(bus: MessageBus, lifespan: Lifespan | None) -> Lifespan:
    if lifespan is not None and inspect.isasyncgenfunction(lifespan):
        lifespan = asynccontextmanager(lifespan)

    @asynccontextmanager
    async def both(app: Any) -> AsyncIterator[dict[str, Any]]:
        _refuse_two_at_one_path(app)
        if lifespan is None:
            async with bus.lifespan(app) as state:
                yield state
            return
        async with lifespan(app) as outer, bus.lifespan(app, outer) as state:
            yield {**(outer or {}), **state}

    return both


def _refuse_two_at_one_path(app: Any) -> None:
    """Or the probes of one bus would answer for the other, and hide a dead cluster."""
    answers: dict[str, MessageBus] = {}
    for path, probes in probes_among(getattr(app, "routes", ())):
        if answers.setdefault(path, probes.bus) is not probes.bus:
            raise ConfigurationError(
                f"the MessagingRouters of two buses answer {path!r}, so its probes would tell of one of them "
                "alone: give one a path of its own, MessagingRouter(audit_bus, health_prefix='/health/audit')"
            )
    documents: dict[str, MessageBus] = {}
    for path, described in described_among(getattr(app, "routes", ())):
        if documents.setdefault(path, described.bus) is not described.bus:
            raise ConfigurationError(
                f"the MessagingRouters of two buses answer {path!r}, so it would tell of one of them alone: "
                "give all paths of one a prefix, app.include_router(..., prefix='/audit')"
            )
