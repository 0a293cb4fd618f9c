"""`CorrelationMiddleware`: all that a request publishes carries its id, in whatever way, and no other's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request, Response, WebSocket
from starlette.middleware.base import RequestResponseEndpoint
from starlette.types import Message, Receive, Scope, Send

from convex_messaging_fastapi import Bus, CorrelationMiddleware, Delivery, MessageBus, MessagingRouter
from convex_messaging_fastapi.publishing.correlation import current_request_id
from convex_messaging_fastapi.testing import TestBench
from tests.plugin.calls import MEMORY, websocket_text

WAYS = (
    "async",
    "sync",
    "dependency",
    "background",
    "background-sync",
    "task",
    "many",
    "to-thread",
)


async def in_a_dependency(bus: Bus) -> None:
    await bus.publish("seen", {})


def app_of(bus: MessageBus, *, inner_middleware: bool = False) -> FastAPI:
    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    if inner_middleware:

        @app.middleware("http")
        async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
            return await call_next(request)

    app.add_middleware(CorrelationMiddleware)

    @app.post("/async")
    async def publish(bus: Bus) -> None:
        await asyncio.sleep(0)
        await bus.publish("seen", {})

    @app.post("/sync")
    def publish_in_a_thread(bus: Bus) -> None:
        bus.publish_sync("seen", {})

    @app.post("/dependency")
    async def by_dependency(_: Annotated[None, Depends(in_a_dependency)]) -> None: ...

    @app.post("/background")
    async def background(bus: Bus, tasks: BackgroundTasks) -> None:
        tasks.add_task(bus.publish, "seen", {})

    @app.post("/background-sync")
    async def background_sync(bus: Bus, tasks: BackgroundTasks) -> None:
        tasks.add_task(bus.publish_sync, "seen", {})

    @app.post("/task")
    async def task(bus: Bus) -> None:
        await asyncio.create_task(bus.publish("seen", {}))

    @app.post("/many")
    async def many(bus: Bus) -> None:
        await bus.publish_many("seen", [{}])

    @app.post("/to-thread")
    async def to_thread(bus: Bus) -> None:
        await asyncio.to_thread(bus.publish_sync, "seen", {})

    @app.post("/explicit")
    async def explicit(bus: Bus) -> None:
        await bus.publish("seen", {}, correlation_id="explicit")

    @app.websocket("/feed")
    async def feed(socket: WebSocket, bus: Bus) -> None:
        await socket.accept()
        await bus.publish("seen", {})
        await socket.send_text(current_request_id.get() or "none")
        await socket.close()

    return app


@pytest.fixture
def bus() -> MessageBus:
    return MessageBus(MEMORY)


@pytest.fixture
async def t(bus: MessageBus) -> AsyncIterator[TestBench]:
    async with bus.test() as t:
        yield t


def ids_of(t: TestBench) -> list[str | None]:
    return [
        dict(record.headers)["correlation-id"].decode()  # type: ignore[union-attr]
        for record in t.records("seen")
    ]


async def post(app: FastAPI, way: str, *headers: tuple[str, str]) -> None:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        answer = await client.post(f"/{way}", headers=list(headers))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("inner", [False, True])
async def test_whatever_a_request_publishes_carries_its_id(
    way: str, inner: bool, bus: MessageBus, t: TestBench
) -> None:
    await post(app_of(bus, inner_middleware=inner), way, ("X-Request-ID", "req-1"))
    assert ids_of(t) == ["req-1"]
    assert current_request_id.get() is None


@pytest.mark.parametrize(
    ("headers", "carried"),
    [
        ([("x-request-id", "lower")], "lower"),
        ([("X-Request-ID", "a" * 256)], "a" * 256),
        ([("X-Request-ID", "a" * 257)], None),
        ([("X-Request-ID", "")], None),
        ([("X-Request-ID", "two words")], None),
        ([("X-Request-ID", "in\tjected")], None),
        ([("X-Request-ID", "{}"), ("X-Request-ID", "good")], "good"),
        ([("X-Request-ID", "first"), ("X-Request-ID", "second")], "first"),
        ([], None),
    ],
)
async def test_what_is_no_id_is_ignored(
    headers: list[tuple[str, str]], carried: str | None, bus: MessageBus, t: TestBench
) -> None:
    await post(app_of(bus), "async", *headers)
    (record,) = t.records("seen")
    own = dict(record.headers)["message-id"]
    assert ids_of(t) == [carried or (own or b"").decode()]


async def test_an_id_that_is_given_wins(bus: MessageBus, t: TestBench) -> None:
    await post(app_of(bus), "explicit", ("X-Request-ID", "req-1"))
    assert ids_of(t) == ["explicit"]


async def test_requests_side_by_side_do_not_mix(bus: MessageBus, t: TestBench) -> None:
    app = app_of(bus)
    await asyncio.gather(
        *(post(app, WAYS[n % len(WAYS)], ("X-Request-ID", f"req-{n}")) for n in range(100)),
        *(post(app, WAYS[n % len(WAYS)]) for n in range(50)),
    )
    ids = ids_of(t)
    assert sorted(id for id in ids if id and id.startswith("req-")) == sorted(f"req-{n}" for n in range(100))
    assert len(set(ids)) == len(ids) == 150


async def test_the_id_goes_on_from_message_to_message_and_each_names_its_cause(
    bus: MessageBus, t: TestBench
) -> None:
    steps: list[Delivery] = []

    async def hand_on(event: dict[str, Any], delivery: Delivery) -> None:
        steps.append(delivery)
        await bus.publish("next", {})

    def hand_on_in_a_thread(event: dict[str, Any], delivery: Delivery) -> None:
        steps.append(delivery)
        bus.publish_sync("last", {})

    async def end(event: dict[str, Any], delivery: Delivery) -> None:
        steps.append(delivery)

    await bus.subscribe("seen", hand_on)
    await bus.subscribe("next", hand_on_in_a_thread)
    await bus.subscribe("last", end)
    await t.settle()
    await post(app_of(bus), "async", ("X-Request-ID", "req-1"))
    await t.settle()
    assert [step.correlation_id for step in steps] == ["req-1"] * 3
    causes = [step.headers.get("causation-id") for step in steps]
    assert causes == [None, steps[0].message_id, steps[1].message_id]


async def test_a_websocket_passes_through(bus: MessageBus, t: TestBench) -> None:
    assert await websocket_text(app_of(bus), "/feed") == "none"


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "another"])
async def test_every_other_scope_is_handed_on_as_it_is(kind: str) -> None:
    handed: list[Any] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        handed.extend((scope, receive, send, current_request_id.get()))

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    scope = {"type": kind, "headers": [(b"x-request-id", b"req-1")]} if kind != "lifespan" else {"type": kind}
    await CorrelationMiddleware(inner)(scope, receive, send)
    assert handed[0] is scope
    assert handed[1:] == [receive, send, None]


async def test_an_app_that_raises_leaves_no_id_behind() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def nothing(*_: Any) -> Any: ...

    scope = {"type": "http", "headers": [(b"x-request-id", b"req-1")]}
    with pytest.raises(ZeroDivisionError):
        await CorrelationMiddleware(inner)(scope, nothing, nothing)
    assert current_request_id.get() is None


async def test_another_header_can_be_named(bus: MessageBus, t: TestBench) -> None:
    seen: list[str | None] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(current_request_id.get())

    async def nothing(*_: Any) -> Any: ...

    scope = {"type": "http", "headers": [(b"x-request-id", b"req-1"), (b"x-trace", b"t-1")]}
    await CorrelationMiddleware(inner, header="X-Trace")(scope, nothing, nothing)
    assert seen == ["t-1"]
