"""`get_bus`: the same bus for endpoints, WebSockets and handlers; a clear word where there is none."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import BusNotFound, BusNotStarted, BusStateError, PublishUnknown
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


# -- two buses in one app --------------------------------------------------------------------------


class Two:
    """An app of two buses, each with a handler that notes which bus it was given."""

    def __init__(self) -> None:
        self.orders, self.audit = MessageBus(MEMORY), MessageBus(MEMORY)
        self.given: list[tuple[str, MessageBus]] = []
        self.app, self.mounted = FastAPI(), FastAPI()
        for name, bus in (("orders", self.orders), ("audit", self.audit)):
            self.declare(name, bus)
            self.app.include_router(MessagingRouter(bus, health_prefix=f"/health/{name}"))
        self.mounted.include_router(self.routes())
        self.app.include_router(self.routes())
        self.app.mount("/v1", self.mounted)

    def declare(self, name: str, bus: MessageBus) -> None:
        @bus.subscriber("noted")
        async def note(event: dict[str, Any], own: Bus) -> None:
            self.given.append((name, own))

    def routes(self) -> APIRouter:
        router = APIRouter()

        @router.get("/any")
        async def any_bus(bus: Bus) -> None: ...

        @router.get("/audit")
        async def named(bus: MessageBus = Depends(self.audit.get)) -> bool:  # noqa: B008 - FastAPI's way
            return bus is self.audit

        return router


async def by_httpx(two: Two, path: str) -> Any:
    async with running(two.app):
        return (await call(two.app, path)).json()


async def as_a_server_does(two: Two, path: str) -> Any:
    async with running(two.app) as state:
        return (await call(with_state(two.app, state), path)).json()


async def by_a_test_client(two: Two, path: str) -> Any:
    def get() -> Any:
        with TestClient(two.app) as client:
            return client.get(path).json()

    return await asyncio.to_thread(get)


async def without_a_lifespan(two: Two, path: str) -> Any:
    return (await call(two.app, path)).json()


async def on_benches(two: Two, path: str) -> Any:
    async with two.orders.test(), two.audit.test():
        return (await call(two.app, path)).json()


async def on_benches_as_a_server_does(two: Two, path: str) -> Any:
    async with two.orders.test(), two.audit.test():
        return await as_a_server_does(two, path)


WAYS = [
    by_httpx,
    as_a_server_does,
    by_a_test_client,
    without_a_lifespan,
    on_benches,
    on_benches_as_a_server_does,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", ["", "/v1"])
async def test_in_an_app_of_two_buses_a_route_names_its_own_however_the_request_came(
    way: Any, at: str
) -> None:
    with pytest.raises(BusNotFound, match=r"2 message buses.*Depends\(audit_bus\.get\)"):
        await way(Two(), f"{at}/any")
    assert await way(Two(), f"{at}/audit") is True


async def test_in_an_app_of_two_buses_each_handler_gets_its_own() -> None:
    two = Two()
    async with two.orders.test(two.app) as one, two.audit.test(two.app) as other:
        await two.orders.publish("noted", {})
        await two.audit.publish("noted", {})
        await one.settle()
        await other.settle()
    assert two.given == [("orders", two.orders), ("audit", two.audit)]


async def test_handlers_get_their_own_bus_also_where_one_lifespan_hands_its_state_to_the_other() -> None:
    two = Two()
    async with (
        two.orders.test(two.app) as one,
        two.audit.test(two.app) as other,
        two.orders.lifespan(two.app) as state,
        two.audit.lifespan(two.app, state),
    ):
        await two.orders.publish("noted", {})
        await two.audit.publish("noted", {})
        await one.settle()
        await other.settle()
    assert two.given == [("orders", two.orders), ("audit", two.audit)]


async def test_two_buses_that_are_run_by_hand_are_two_as_well() -> None:
    one, two = MessageBus(MEMORY), MessageBus(MEMORY)
    app = app_with(None, users())
    async with one.lifespan(app), two.lifespan(app):
        with pytest.raises(BusNotFound, match="2 message buses"):
            await call(app, "/users", "POST")
    async with two.lifespan(app):  # what ran there before is gone
        assert (await call(app, "/users", "POST")).json() == "convex.user.created"


async def test_buses_that_take_turns_in_one_app_are_one_at_a_time() -> None:
    app = app_with(None, users())
    for _ in range(2):
        async with MessageBus(MEMORY).test(app) as bench:
            assert (await call(app, "/users", "POST")).status_code == 200
            assert len(bench.published("user.created")) == 1


# -- TestClient, which runs an app on a loop of its own -----------------------------------------------


async def test_a_test_client_publishes_onto_the_bench_from_async_and_plain_endpoints() -> None:
    bus = MessageBus(MEMORY)
    app = app_with(bus, users())
    handled: list[Any] = []

    @bus.subscriber("user.created")
    async def welcome(event: dict[str, Any]) -> None:
        handled.append(event)

    @app.post("/plain")
    def plain(bus: Bus) -> str:
        return bus.publish_sync("user.created", {"id": 2}, timeout=5).topic

    async with bus.test(app) as bench:
        with TestClient(app) as client:
            assert client.post("/users").json() == "convex.user.created"
            assert client.post("/plain").json() == "convex.user.created"
            await bench.settle()
        assert bench.published("user.created") == [{"id": 1}, {"id": 2}]
        assert sorted(event["id"] for event in handled) == [1, 2]  # without a key they have no order


async def test_a_test_client_without_a_lifespan_hangs_nowhere_and_says_what_to_do() -> None:
    bus = MessageBus(MEMORY)
    app = app_with(bus, users())

    @app.post("/plain")
    def plain(bus: Bus) -> None:
        bus.publish_sync("user.created", {"id": 2}, timeout=0.1)

    async with bus.test(app):
        client = TestClient(app)
        with pytest.raises(PublishUnknown, match=r"something blocks it.*TestClient in an async test"):
            client.post("/plain")
        with pytest.raises(BusStateError, match=r"with TestClient\(app\)"):
            client.post("/users")
