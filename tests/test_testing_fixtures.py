"""The bench in fixtures as users write them, of pytest-asyncio and of anyio, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import clean_environment

SERVICE = """
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from convex_messaging_fastapi import Bus, MessageBus, MessagingRouter, MessagingSettings

bus = MessageBus(MessagingSettings(consumer_group="orders"))
app = FastAPI()
app.include_router(MessagingRouter(bus))

@bus.subscriber("orders")
async def handle(order: dict, bus: Bus) -> None:
    await bus.publish("shipments", order)

@bus.subscriber("shipments")
def ship(shipment: dict) -> None: ...

@app.post("/orders")
async def place(bus: Bus) -> None:
    await bus.publish("orders", {"id": 1})

@app.post("/orders/sync")
def place_in_a_thread(bus: Bus) -> None:
    bus.publish_sync("orders", {"id": 1})
"""

STORIES = """
async def test_publishing(t):
    await bus.publish("orders", {"id": 1})
    await t.settle()
    assert t.handled(handle) == t.handled(ship) == [{"id": 1}]

async def test_it_begins_anew(t):
    assert t.published("orders") == t.handled(handle) == []

@pytest.mark.parametrize("path", ["/orders", "/orders/sync"])
async def test_with_a_client_whose_lifespan_runs_elsewhere(t, path):
    with TestClient(app) as client:
        assert client.post(path).status_code == 200
        await t.settle()
        assert t.handled(handle) == t.handled(ship) == [{"id": 1}]
        assert client.post(path).status_code == 200
    await t.settle()
    assert len(t.handled(ship)) == 2

@pytest.mark.parametrize("path", ["/orders", "/orders/sync"])
async def test_with_a_client_of_this_loop(t, path):
    import httpx
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        async with app.router.lifespan_context(app):
            assert (await client.post(path)).status_code == 200
    await t.settle()
    assert t.handled(handle) == t.handled(ship) == [{"id": 1}]
"""

PYTEST_ASYNCIO = """
import pytest_asyncio
pytestmark = pytest.mark.asyncio

@pytest_asyncio.fixture
async def t():
    async with bus.test(app) as t:
        yield t
"""

ANYIO = """
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def t(anyio_backend):
    async with bus.test(app) as t:
        yield t
"""


PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "anyio.pytest_plugin")
"""No others: a user may have these two, and each more takes its time to load."""


@pytest.mark.timeout(240)
def test_a_bench_for_each_test(tmp_path: Path) -> None:
    settings = "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    (tmp_path / "pytest.ini").write_text(settings)
    for name, fixtures in {"asyncio": PYTEST_ASYNCIO, "anyio": ANYIO}.items():
        (tmp_path / f"test_with_{name}.py").write_text(SERVICE + fixtures + STORIES)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PLUGINS],
        cwd=tmp_path,
        env=clean_environment() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{2 * 6} passed" in ran.stdout
