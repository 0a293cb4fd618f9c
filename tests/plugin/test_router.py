"""The router: a bus lives as long as the app that includes it, and no longer."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.requests import HTTPConnection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.errors import BusNotStarted, BusStopped, ConfigurationError, PublishFailed
from convex_messaging_fastapi.plugin import MessagingRouter, get_bus, health_routes
from convex_messaging_fastapi.policies import Retry
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.status import Phase
from convex_messaging_fastapi.verdicts import ready
from tests.plugin.calls import MEMORY, call, running, with_state
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
        assert (state["pool"], state["messaging_bus"]) == ("a pool", bus)
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
        receipt = await (await get_bus(request)).publish("user.created", {"id": 1})
        return JSONResponse({"topic": receipt.topic})

    app = Starlette(lifespan=bus.lifespan, routes=[*health_routes(bus), Route("/users", publish)])
    async with app.router.lifespan_context(app):
        assert (await call(app, "/users")).json() == {"topic": "convex.user.created"}
        assert (await call(app, "/health/kafka/ready")).status_code == 200
    assert (await call(app, "/health/kafka/ready")).json()["reasons"] == ["stopped"]


# -- the state of lifespans ------------------------------------------------------------------------


def get_pool(conn: HTTPConnection) -> str:
    pool: str = conn.state.pool
    return pool


class Shop:
    """An app whose routes and handlers ask for one pool, and what each of them was given."""

    def __init__(self, app: FastAPI, **choices: Any) -> None:
        self.app = app
        self.bus = MessageBus(MEMORY)
        self.given: list[str] = []

        @self.bus.subscriber("ordered", retry=Retry(attempts=1))
        async def handle(event: dict[str, Any], pool: Annotated[str, Depends(get_pool)]) -> None:
            self.given.append(f"handler: {pool}")

        @app.get("/pool")
        async def show(pool: Annotated[str, Depends(get_pool)]) -> None:
            self.given.append(f"route: {pool}")

        app.include_router(MessagingRouter(self.bus, **choices))


@asynccontextmanager
async def with_a_pool(app: Any) -> AsyncIterator[dict[str, Any]]:
    yield {"pool": "the pool"}


async def test_what_the_routers_lifespan_yields_reaches_routes_and_handlers() -> None:
    shop = Shop(FastAPI(), lifespan=with_a_pool)
    async with shop.bus.test(shop.app) as bench, running(shop.app) as state:
        await call(with_state(shop.app, state), "/pool")
        await shop.bus.publish("ordered", {})
        await bench.settle()
        assert bench.dead_letters() == []
    assert shop.given == ["route: the pool", "handler: the pool"]


async def test_it_is_there_before_the_bus_starts_and_also_without_a_bench() -> None:
    shop = Shop(FastAPI(), lifespan=with_a_pool)
    async with running(shop.app):
        await shop.bus.publish("ordered", {})
        await eventually(lambda: shop.given, 10, "the handler")
    assert shop.given == ["handler: the pool"]


async def test_what_the_apps_own_lifespan_yields_reaches_no_handler_and_the_letter_says_what_to_do() -> None:
    shop = Shop(FastAPI(lifespan=with_a_pool))
    async with shop.bus.test(shop.app) as bench, running(shop.app) as state:
        await call(with_state(shop.app, state), "/pool")
        await shop.bus.publish("ordered", {})
        await bench.settle()
        (letter,) = bench.dead_letters()
    assert shop.given == ["route: the pool"]
    assert "what the app's lifespan yields reaches requests alone" in letter.error_message
    assert "conn.app.state.pool" in letter.error_message


async def test_a_lifespan_may_be_given_as_the_bare_generator_function_as_to_fastapi() -> None:
    async def bare(app: Any) -> AsyncIterator[None]:
        yield

    app, bus = FastAPI(), MessageBus(MEMORY)
    app.include_router(MessagingRouter(bus, lifespan=bare))  # type: ignore[arg-type]
    async with running(app):
        assert bus.status().phase is Phase.RUNNING


# -- publishing at both ends of an app -------------------------------------------------------------


def publishing(bus: MessageBus, heard: list[str]) -> Any:
    """A lifespan that publishes when it begins and when it ends, and notes what comes of it."""

    async def publish(when: str) -> None:
        try:
            await bus.publish("life", {})
        except (BusNotStarted, BusStopped) as error:
            heard.append(f"{when}: {error}")
        else:
            heard.append(f"{when}: published")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await publish("begin")
        yield
        await publish("end")

    return lifespan


async def test_a_router_included_after_the_messaging_router_publishes_at_both_ends() -> None:
    app, bus = FastAPI(), MessageBus(MEMORY)
    heard: list[str] = []
    app.include_router(MessagingRouter(bus))
    app.include_router(APIRouter(lifespan=publishing(bus, heard)))
    async with running(app):
        pass
    assert heard == ["begin: published", "end: published"]


@pytest.mark.parametrize("where", ["the app", "a router before", "around the bus"])
async def test_elsewhere_the_sentences_of_both_ends_name_that_router(where: str) -> None:
    bus = MessageBus(MEMORY)
    heard: list[str] = []
    lifespan = publishing(bus, heard)
    app = FastAPI(lifespan=lifespan if where == "the app" else None)
    if where == "a router before":
        app.include_router(APIRouter(lifespan=lifespan))
    app.include_router(MessagingRouter(bus, lifespan=lifespan if where == "around the bus" else None))
    async with running(app):
        pass
    begin, end = heard
    assert begin.startswith("begin: the bus has not started")
    assert end.startswith("end: the bus has stopped")
    for sentence in heard:
        assert "the lifespan of a router that is included after the MessagingRouter" in sentence


# -- two buses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [{}, {"readiness": "http"}, {"health_prefix": "/health/kafka"}])
async def test_two_buses_on_one_path_are_refused_before_anything_starts(second: dict[str, Any]) -> None:
    app, one, two = FastAPI(), MessageBus(MEMORY), MessageBus(MEMORY)
    between = APIRouter()
    between.include_router(MessagingRouter(two, **second))
    app.include_router(MessagingRouter(one))
    app.include_router(between)
    with pytest.raises(ConfigurationError, match=r"two buses answer '/health/kafka'.*health_prefix="):
        async with running(app):
            pytest.fail("the app must not start")
    assert (one.status().phase, two.status().phase) == (Phase.NEW, Phase.NEW)


@pytest.mark.parametrize("apart", [("/health/a", "", "/health/b", ""), ("/health", "/a", "/health", "/b")])
async def test_two_buses_on_two_paths_are_probed_apart(apart: tuple[str, str, str, str]) -> None:
    app, one, two = FastAPI(), MessageBus(MEMORY), MessageBus(MEMORY)
    app.include_router(MessagingRouter(one, health_prefix=apart[0]), prefix=apart[1])
    app.include_router(MessagingRouter(two, health_prefix=apart[2]), prefix=apart[3])
    async with running(app):
        await two.stop()
        assert (await call(app, f"{apart[1]}{apart[0]}/ready")).status_code == 200
        assert (await call(app, f"{apart[3]}{apart[2]}/ready")).json()["reasons"] == ["stopped"]


# -- mistakes --------------------------------------------------------------------------------------


def kind(given: object) -> str:
    return type(given).__name__


@pytest.mark.parametrize("given", ["localhost:9092", None, MEMORY, MessageBus, {"a": 1}, FastAPI()], ids=kind)
def test_what_is_no_bus_is_refused_at_once(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"takes the bus, as in MessagingRouter\(MessageBus"):
        MessagingRouter(given)


@pytest.mark.parametrize("given", ["kafka:9092", {"a": 1}, MessagingSettings, [], 0, "", FastAPI()], ids=kind)
def test_what_are_no_settings_is_refused_at_once_and_not_repeated(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="MessageBus takes MessagingSettings, as in") as refused:
        MessageBus(given)
    assert "kafka:9092" not in str(refused.value), "what was given may hold a password"


def test_including_the_bus_itself_says_what_to_include() -> None:
    for taking in (FastAPI(), APIRouter()):
        with pytest.raises(AttributeError, match=r"no router: include it with.*MessagingRouter\(bus\)"):
            taking.include_router(MessageBus(MEMORY))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in dir(MessageBus) if not name.startswith("_")])
def test_the_router_says_where_the_verbs_of_the_bus_are(name: str) -> None:
    router = MessagingRouter(MessageBus(MEMORY))
    if hasattr(APIRouter, name):
        pytest.skip("a router has something of this name")
    with pytest.raises(AttributeError, match=rf"MessagingRouter has no '{name}': .*bus\.{name}\("):
        getattr(router, name)


def test_what_neither_has_is_said_as_python_says_it() -> None:
    for thing in (MessagingRouter(MessageBus(MEMORY)), MessageBus(MEMORY)):
        with pytest.raises(AttributeError, match="object has no attribute 'brokr'"):
            thing.brokr  # type: ignore[union-attr]  # noqa: B018 - what it raises is looked at


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("prefix", "the path of its probes is `health_prefix`"),
        ("helth_prefix", "did you mean `health_prefix`"),
        ("redness", "did you mean `readiness`"),
        ("detail", "did you mean `details`"),
        ("include_in_scheme", "did you mean `include_in_schema`"),
        ("lifespans", "did you mean `lifespan`"),
        ("tags", "it has `health_prefix`, `readiness`"),
    ],
)
def test_a_choice_that_there_is_not_is_refused_with_the_one_that_there_is(choice: str, says: str) -> None:
    choices: dict[str, Any] = {choice: "/x"}
    with pytest.raises(ConfigurationError, match=f"has no `{choice}`.*{says}"):
        MessagingRouter(MessageBus(MEMORY), **choices)


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
