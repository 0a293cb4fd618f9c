"""`asyncapi=True` serves the document and its page, to whom the app's dependencies let in."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException

from convex_messaging_fastapi import ConfigurationError, MessageBus, MessagingRouter
from convex_messaging_fastapi.asyncapi import document
from convex_messaging_fastapi.asyncapi.describing import document_of
from convex_messaging_fastapi.asyncapi.showing import POLICY
from tests.plugin.calls import MEMORY, call, running

BOTH = ("/asyncapi.json", "/asyncapi")


async def handle(message: dict[str, int]) -> None: ...


def shop(**choices: Any) -> tuple[FastAPI, MessageBus]:
    bus, app = MessageBus(MEMORY), FastAPI(title="Shop", version="2.0.0")
    bus.subscriber("orders", id="take")(handle)
    app.include_router(MessagingRouter(bus, **choices))
    return app, bus


async def test_the_document_and_its_page_are_served() -> None:
    app, bus = shop(asyncapi=True)
    async with running(app):
        told = await call(app, "/asyncapi.json")
        assert (told.status_code, told.headers["content-type"]) == (200, "application/json")
        assert told.json() == document(bus, app)
        assert told.json()["info"] == {"title": "Shop", "version": "2.0.0"}
        shown = await call(app, "/asyncapi")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert shown.headers["content-security-policy"] == POLICY
    assert 'href="asyncapi.json"' in shown.text
    assert '<h2 id="orders">' in shown.text


@pytest.mark.parametrize("path", BOTH)
async def test_nothing_is_served_unless_it_was_asked_for(path: str) -> None:
    app, _ = shop()
    async with running(app):
        assert (await call(app, path)).status_code == 404


async def test_they_are_not_in_the_openapi_document() -> None:
    app, _ = shop(asyncapi=True, include_in_schema=True)
    async with running(app):
        assert not [path for path in (await call(app, "/openapi.json")).json()["paths"] if "asyncapi" in path]


@pytest.mark.parametrize("path", BOTH)
async def test_what_joins_later_is_told(path: str) -> None:
    app, bus = shop(asyncapi=True)
    async with running(app):
        assert "invoices" not in (await call(app, path)).text
        id = await bus.subscribe("invoices", handle)
        assert "invoices" in (await call(app, path)).text
        await bus.unsubscribe(id)
        assert "invoices" not in (await call(app, path)).text
        bus.publishes("mails", int)
        assert "mails" in (await call(app, path)).text


async def test_it_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whoever asks again and again would keep the event loop busy."""
    made: list[Any] = []

    def counted(*given: Any) -> Any:
        made.append(given)
        return document_of(*given)

    monkeypatch.setattr("convex_messaging_fastapi.plugin.described.document_of", counted)
    app, _ = shop(asyncapi=True)
    async with running(app):
        for path in BOTH * 3:
            assert (await call(app, path)).status_code == 200
    assert len(made) == 1


def refuse() -> None:
    raise HTTPException(401)


@pytest.mark.parametrize("path", BOTH)
async def test_the_dependencies_of_the_app_guard_them_and_not_the_probes(path: str) -> None:
    bus, app = MessageBus(MEMORY), FastAPI()
    app.include_router(MessagingRouter(bus, asyncapi=True), dependencies=[Depends(refuse)])
    async with running(app):
        assert (await call(app, path)).status_code == 401
        assert (await call(app, "/health/kafka/live")).status_code == 200


async def test_a_prefix_goes_before_both_and_the_page_still_finds_the_document() -> None:
    bus, app, outer = MessageBus(MEMORY), FastAPI(), APIRouter(prefix="/messages")
    outer.include_router(MessagingRouter(bus, asyncapi=True))
    app.include_router(outer)
    async with running(app):
        assert 'href="asyncapi.json"' in (await call(app, "/messages/asyncapi")).text
        assert (await call(app, "/messages/asyncapi.json")).json()["asyncapi"] == "3.1.0"


async def test_two_buses_at_one_path_are_refused_when_the_app_starts() -> None:
    app, one, other = FastAPI(), MessageBus(MEMORY), MessageBus(MEMORY)
    app.include_router(MessagingRouter(one, asyncapi=True))
    app.include_router(MessagingRouter(other, asyncapi=True, health_prefix="/health/audit"))
    with pytest.raises(ConfigurationError, match=r"two buses answer '/asyncapi\.json'"):
        async with running(app):
            pass


async def test_two_buses_at_two_paths_are_not() -> None:
    app, one, other = FastAPI(), MessageBus(MEMORY), MessageBus(MEMORY)
    one.publishes("orders", int)
    other.publishes("audits", int)
    app.include_router(MessagingRouter(one, asyncapi=True))
    app.include_router(MessagingRouter(other, asyncapi=True), prefix="/audit")
    async with running(app):
        for path, topic in (("/asyncapi.json", "orders"), ("/audit/asyncapi.json", "audits")):
            assert list((await call(app, path)).json()["channels"]) == [topic]


async def test_it_tells_of_a_bus_whose_lifespan_does_not_run() -> None:
    app, bus = shop(asyncapi=True)
    assert (await call(app, "/asyncapi.json")).json() == document(bus, app)
