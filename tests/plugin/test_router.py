"""The router: a bus lives as long as the app that includes it, and no longer."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import BusStopped, ConfigurationError, PublishFailed
from convex_messaging_fastapi.plugin import MessagingRouter, get_bus, health_routes
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.status import Phase, ready
from tests.plugin.calls import MEMORY, call, running
from tests.support.waiting import eventually


async def test_including_the_router_is_all_it_takes() -> None:
    bus = MessageBus(MEMORY)
    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    async with running(app):
        receipt = await bus.publish("user.created", {"id": 1}, key="1")
        assert receipt.topic == "convex.user.created"
    with pytest.raises(BusStopped):
        await bus.publish("user.created", {"id": 2})


async def test_routers_in_between_do_no_harm() -> None:
    bus = MessageBus(MEMORY)
    app, outer, inner = FastAPI(), APIRouter(), APIRouter()
    inner.include_router(MessagingRouter(bus))
    outer.include_router(inner)
    app.include_router(outer)
    async with running(app):
        assert bus.status().phase is Phase.RUNNING
    assert bus.status().phase is Phase.STOPPED


async def test_what_the_app_opens_is_there_before_the_bus_starts_and_after_it_has_stopped() -> None:
    bus = MessageBus(MEMORY)
    seen = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        seen.append(bus.status().phase)
        yield {"pool": "a pool"}
        seen.append(bus.status().phase)

    app = FastAPI(lifespan=lifespan)
    app.include_router(MessagingRouter(bus))
    async with running(app) as state:
        assert state == {"pool": "a pool", "messaging_bus": bus}
    assert seen == [Phase.NEW, Phase.STOPPED]


async def test_routes_can_be_added_to_the_router() -> None:
    app, router = FastAPI(), MessagingRouter(MessageBus(MEMORY))

    @router.get("/orders")
    async def orders() -> list[int]:
        return [1]

    app.include_router(router)
    assert (await call(app, "/orders")).json() == [1]


async def test_the_same_bus_included_twice_is_refused_and_leaves_nothing_running() -> None:
    bus = MessageBus(MEMORY)
    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    app.include_router(MessagingRouter(bus), prefix="/again")
    with pytest.raises(ConfigurationError, match="once"):
        async with running(app):
            pytest.fail("the app must not start")
    assert bus.status().phase is Phase.STOPPED


async def test_the_same_router_included_twice_is_refused() -> None:
    app, router = FastAPI(), MessagingRouter(MessageBus(MEMORY))
    app.include_router(router)
    app.include_router(router)
    with pytest.raises(ConfigurationError, match="once"):
        async with running(app):
            pytest.fail("the app must not start")


async def test_the_app_can_start_again_after_it_has_stopped() -> None:
    bus = MessageBus(MEMORY)
    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    for _ in range(2):
        async with running(app):
            await bus.publish("user.created", {"id": 1})
            assert (await call(app, "/health/kafka/live")).status_code == 200


async def test_probes_follow_the_life_of_a_bus_with_a_subscriber() -> None:
    bus = MessageBus(MEMORY)

    @bus.subscriber("user.created")
    async def welcome(event: dict[str, Any]) -> None: ...

    app = FastAPI()
    app.include_router(MessagingRouter(bus))

    async def codes() -> list[int]:
        paths = ("/startup", "/live", "/ready")
        return [(await call(app, f"/health/kafka{path}")).status_code for path in paths]

    assert await codes() == [503, 200, 503]
    async with running(app):
        await eventually(lambda: ready(bus.status()).ok, 10, "the bus to be ready")
        assert await codes() == [200, 200, 200]
    assert await codes() == [503, 200, 503]


async def test_with_kafka_away_the_app_starts_probes_say_so_and_publishing_keeps_its_deadline() -> None:
    bus = MessageBus(
        MessagingSettings(bootstrap_servers=f"127.0.0.1:{_closed_port()}", consumer_group="billing")
    )

    @bus.subscriber("user.created")
    async def welcome(event: dict[str, Any]) -> None: ...

    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    async with running(app):
        assert (await call(app, "/health/kafka/startup")).status_code == 200
        assert (await call(app, "/health/kafka/live")).status_code == 200
        answer = await call(app, "/health/kafka/ready")
        assert answer.status_code == 503
        assert set(answer.json()["reasons"]) <= {"connecting", "broker_unreachable", "dlq_unavailable"}
        with pytest.raises(PublishFailed):
            await bus.publish("user.created", {"id": 1}, timeout=0.2)
        await eventually(
            lambda: "broker_unreachable" in ready(bus.status()).reasons, 10, "the cause to be known"
        )
        assert (await call(app, "/health/kafka/live")).status_code == 200
    assert bus.status().phase is Phase.STOPPED


async def test_plain_starlette_runs_the_bus_by_its_lifespan() -> None:
    bus = MessageBus(MEMORY)

    async def publish(request: Request) -> JSONResponse:
        receipt = await get_bus(request).publish("user.created", {"id": 1})
        return JSONResponse({"topic": receipt.topic})

    app = Starlette(lifespan=bus.lifespan, routes=[*health_routes(bus), Route("/users", publish)])
    async with app.router.lifespan_context(app):
        assert (await call(app, "/users")).json() == {"topic": "convex.user.created"}
        assert (await call(app, "/health/kafka/ready")).status_code == 200
    assert (await call(app, "/health/kafka/ready")).json()["reasons"] == ["stopped"]


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
