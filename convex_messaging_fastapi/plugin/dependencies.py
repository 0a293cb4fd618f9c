"""Gives endpoints and handlers the bus, or the error that says why there is none."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from convex_messaging_fastapi.app_state import STATE_KEY, running_in
from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import BusNotFound
from convex_messaging_fastapi.plugin.health import probes_among
from convex_messaging_fastapi.status import Phase


async def get_bus(conn: HTTPConnection) -> MessageBus:
    """The bus of the app that serves this request or WebSocket; in a handler, the bus that runs it.

        @app.post("/users")
        async def create_user(user: NewUser, bus: MessageBus = Depends(get_bus)) -> None: ...

    Raises `BusNotFound` if the app has none, or has several: a route then names the one it means, with
    `Depends(audit_bus.get)`. A bus whose lifespan has not begun is found, and raises `BusNotStarted`
    when it is asked to publish. Tests can replace it with `app.dependency_overrides[get_bus]`.
    """
    return _the_only(_running(conn) or _included(conn))


Bus = Annotated[MessageBus, Depends(get_bus)]
"""`async def create_user(user: NewUser, bus: Bus) -> None: ...`"""


def _running(conn: HTTPConnection) -> list[MessageBus]:
    """The buses that lifespans have noted: in the request's state, or else in the app's."""
    for state in (conn.state, getattr(conn.scope.get("app"), "state", None)):
        if buses := running_in(state):
            return buses
        if (own := getattr(state, STATE_KEY, None)) is not None:
            return [own]
    return []


def _the_only(buses: Collection[MessageBus]) -> MessageBus:
    if len(buses) > 1:
        raise BusNotFound(
            f"this app has {len(buses)} message buses, and get_bus cannot tell which one is meant: name it, "
            "as in `bus: MessageBus = Depends(audit_bus.get)`"
        )
    (bus,) = buses
    return bus


def _included(conn: HTTPConnection) -> list[MessageBus]:
    """The buses whose routes the outermost app, or else the app that serves this, includes."""
    outermost, serving = conn.scope.get("router"), conn.scope.get("app")
    mounted_at = _mounted_at(conn)
    buses = _buses_among(outermost)
    if not buses and mounted_at is not None:
        buses = _buses_among(serving)
        if buses and all(bus.status().phase is Phase.NEW for bus in buses):
            raise BusNotFound(
                f"the MessagingRouter is included in the app that is mounted at {mounted_at!r}, and the "
                "lifespan of a mounted app never runs: include the router in the outermost app; the "
                "mounted one finds the bus there"
            )
    if not buses:
        raise BusNotFound(_why_not(mounted_at))
    return buses


def _buses_among(owner: Any) -> list[MessageBus]:
    found = [probes.bus for _, probes in probes_among(getattr(owner, "routes", ()))]
    return list({id(bus): bus for bus in found}.values())


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
