"""How endpoints and handlers come by the bus, and what they are told when there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

from fastapi import Depends
from fastapi.requests import HTTPConnection
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute

from convex_messaging_fastapi.bus import STATE_KEY, MessageBus
from convex_messaging_fastapi.errors import BusNotFound
from convex_messaging_fastapi.plugin.health import Probes
from convex_messaging_fastapi.status import Phase


def get_bus(conn: HTTPConnection) -> MessageBus:
    """The bus of the app that serves this request, WebSocket or message.

        @app.post("/users")
        async def create_user(user: NewUser, bus: MessageBus = Depends(get_bus)) -> None: ...

    Raises `BusNotFound` where the app has none. A bus whose lifespan has not begun is found, and
    raises `BusNotStarted` when it is to publish. Tests may put another in its place with
    `app.dependency_overrides[get_bus]`.
    """
    found = _running(conn)
    return found if found is not None else _included(conn)


Bus = Annotated[MessageBus, Depends(get_bus)]
"""`async def create_user(user: NewUser, bus: Bus) -> None: ...`"""


def _running(conn: HTTPConnection) -> MessageBus | None:
    """The bus that a lifespan has left for us: with each request, or where there is none, on the app."""
    for state in (conn.state, getattr(conn.scope.get("app"), "state", None)):
        bus = getattr(state, STATE_KEY, None)
        if bus is not None:
            return cast("MessageBus", bus)
    return None


def _included(conn: HTTPConnection) -> MessageBus:
    """The bus whose routes the outermost app, or else the one that serves this, has included."""
    outermost, serving = conn.scope.get("router"), conn.scope.get("app")
    mounted_at = _mounted_at(conn)
    bus = _bus_among(outermost)
    if bus is None and mounted_at is not None:
        bus = _bus_among(serving)
        if bus is not None and bus.status().phase is Phase.NEW:
            raise BusNotFound(
                f"the MessagingRouter is included in the app that is mounted at {mounted_at!r}, and the "
                "lifespan of a mounted app never runs: include the router in the outermost app; the "
                "mounted one finds the bus there"
            )
    if bus is None:
        raise BusNotFound(_why_not(mounted_at))
    return bus


def _bus_among(owner: Any) -> MessageBus | None:
    routes: Sequence[BaseRoute] = getattr(owner, "routes", ())
    for context in iter_route_contexts(routes):
        endpoint = getattr(context.original_route, "endpoint", None)
        probes = getattr(endpoint, "__self__", None)
        if isinstance(probes, Probes):
            return probes.bus
    return None


def _mounted_at(conn: HTTPConnection) -> str | None:
    root: str = conn.scope.get("root_path", "")
    above: str = conn.scope.get("app_root_path", root)  # set by a mount, and by nothing else
    return None if root == above else root.removeprefix(above)


def _why_not(mounted_at: str | None) -> str:
    where = "this app" if mounted_at is None else f"the app that holds the one mounted at {mounted_at!r}"
    return (
        f"{where} has no message bus. Include it with app.include_router(MessagingRouter(bus)). Where "
        "bus.lifespan is used by hand, the lifespan did not run: servers run it, and so does `with "
        "TestClient(app)`, but not TestClient without `with`, nor httpx.ASGITransport"
    )
