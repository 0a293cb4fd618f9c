"""`get_bus`: the same bus for endpoints, WebSockets and handlers; a clear word where there is none."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import BusNotFound, BusNotStarted
from convex_messaging_fastapi.plugin import Bus, MessagingRouter, get_bus
from tests.plugin.calls import MEMORY, call, running, websocket_text, with_state


@pytest.fixture
def bus() -> MessageBus:
    return MessageBus(MEMORY)


def users() -> APIRouter:
    """Routes that need the bus and do not know which."""
    router = APIRouter()

    @router.post("/users")
    async def create_user(bus: Bus) -> str:
        return (await bus.publish("user.created", {"id": 1})).topic

    @router.websocket("/feed")
    async def feed(socket: WebSocket, bus: Annotated[MessageBus, Depends(get_bus)]) -> None:
        await socket.accept()
        await socket.send_text((await bus.publish("user.created", {"id": 1})).topic)
        await socket.close()

    return router


def app_with(bus: MessageBus | None, *routers: APIRouter) -> FastAPI:
    app = FastAPI()
    if bus is not None:
        app.include_router(MessagingRouter(bus))
    for router in routers:
        app.include_router(router)
    return app


async def test_an_endpoint_gets_the_bus_also_where_no_request_has_the_lifespans_state(
    bus: MessageBus,
) -> None:
    app = app_with(bus, users())
    async with running(app):
        assert (await call(app, "/users", "POST")).json() == "convex.user.created"


async def test_an_endpoint_gets_the_bus_of_the_lifespans_state(bus: MessageBus) -> None:
    """Also in an app that knows nothing else of it, as a mounted one does behind a server."""
    async with bus:
        served = with_state(app_with(None, users()), {"messaging_bus": bus})
        assert (await call(served, "/users", "POST")).json() == "convex.user.created"


async def test_a_websocket_gets_the_bus(bus: MessageBus) -> None:
    app = app_with(bus, users())
    async with running(app):
        assert await websocket_text(app, "/feed") == "convex.user.created"


async def test_a_handler_and_its_dependencies_get_the_bus(bus: MessageBus) -> None:
    got: asyncio.Queue[tuple[MessageBus, MessageBus]] = asyncio.Queue()

    async def by_way_of(bus: Bus) -> MessageBus:
        return bus

    @bus.subscriber("user.created")
    async def welcome(
        event: dict[str, Any], bus: Bus, same: Annotated[MessageBus, Depends(by_way_of)]
    ) -> None:
        await got.put((bus, same))

    async with running(app_with(bus)):
        await bus.publish("user.created", {"id": 1})
        async with asyncio.timeout(10):
            assert await got.get() == (bus, bus)


async def test_a_test_may_put_another_bus_in_its_place(bus: MessageBus) -> None:
    class Fake:
        async def publish(self, topic: str, message: object) -> Any:
            return type("Receipt", (), {"topic": f"fake {topic}"})

    app = app_with(bus, users())
    app.dependency_overrides[get_bus] = Fake
    assert (await call(app, "/users", "POST")).json() == "fake user.created"


async def test_the_bench_serves_endpoints_although_no_lifespan_ran(bus: MessageBus) -> None:
    app = app_with(bus, users())
    async with bus.test() as bench:
        assert (await call(app, "/users", "POST")).status_code == 200
        assert bench.published("user.created") == [{"id": 1}]


async def test_without_the_router_the_sentence_says_what_is_missing() -> None:
    with pytest.raises(BusNotFound, match=r"this app has no message bus.*include_router\(MessagingRouter"):
        await call(app_with(None, users()), "/users", "POST")


async def test_when_the_lifespan_did_not_run_the_sentence_says_so(bus: MessageBus) -> None:
    with pytest.raises(BusNotStarted, match="its lifespan has not begun"):
        await call(app_with(bus, users()), "/users", "POST")


async def test_a_router_in_a_mounted_app_is_told_that_its_lifespan_never_runs(bus: MessageBus) -> None:
    app = FastAPI()
    app.mount("/v1", app_with(bus, users()))
    async with running(app):
        with pytest.raises(
            BusNotFound, match="mounted at '/v1', and the lifespan of a mounted app never runs"
        ):
            await call(app, "/v1/users", "POST")


async def test_a_mounted_app_without_any_bus_above_it_is_told_where_to_put_one() -> None:
    app = FastAPI()
    app.mount("/v1", app_with(None, users()))
    with pytest.raises(BusNotFound, match="the app that holds the one mounted at '/v1' has no message bus"):
        await call(app, "/v1/users", "POST")


async def test_a_mounted_app_finds_the_bus_of_the_outermost_app(bus: MessageBus) -> None:
    app = app_with(bus)
    app.mount("/v1", app_with(None, users()))
    async with running(app):
        assert (await call(app, "/v1/users", "POST")).json() == "convex.user.created"


async def test_a_mounted_app_may_include_a_bus_that_others_run(bus: MessageBus) -> None:
    app = FastAPI()
    app.mount("/v1", app_with(bus, users()))
    async with bus:
        assert (await call(app, "/v1/users", "POST")).json() == "convex.user.created"
