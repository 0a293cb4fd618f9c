"""`run`: handlers without a web server, in memory; probes on a port; signals."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from convex_messaging_fastapi.cli.serving import probes
from convex_messaging_fastapi.status import BusStatus, Phase
from tests.cli.calls import MODULE, Cli
from tests.support.services import Service
from tests.support.waiting import until
from tests.support.wire import WireCluster
from tools.kafka.common import HOST, free_ports

APP = """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from convex_messaging_fastapi import MessageBus, MessagingRouter

bus = MessageBus()

@asynccontextmanager
async def lifespan(app):
    print("the app's lifespan is open", flush=True)
    yield
    print("the app's lifespan is closed", flush=True)

app = FastAPI(lifespan=lifespan)
app.include_router(MessagingRouter(bus))

@bus.subscriber("orders", id="count")
async def count(order: dict) -> None:
    print("handled", order["id"], flush=True)
"""


def service(folder: Path, wire: WireCluster, *words: str) -> Service:
    """The command in the place of a server: it answers the probes on the port of the service."""
    (folder / "shop.py").write_text(APP)
    wire.topic("convex.dlq", partitions=1)
    return Service(
        folder,
        {"KAFKA_BOOTSTRAP_SERVERS": wire.bootstrap_servers, "KAFKA_CONSUMER_GROUP": "counting"},
        app="shop:app",
        command=lambda app, port: (
            MODULE[2], "run", "--app", app, "--host-health", f"{HOST}:{port}", *words
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_handlers_run_in_the_apps_lifespan_until_a_signal(
    folder: Path, wire: WireCluster, cli: Cli, number: signal.Signals, code: int
) -> None:
    running = service(folder, wire).start()
    try:
        running.wait_ready()
        assert running.status_of("/health/kafka/live") == 200
        assert running.status_of("/health/kafka/nothing") == 404
        published = cli("publish", "orders", '{"id": 7}', "--bootstrap-servers", wire.bootstrap_servers)
        assert published.code == 0, published.err
        until(lambda: "handled 7" in running.tail(), 30, "the handler")
        running._started.send(number)
        assert running.wait(60) == code
        told = running.tail()
        assert told.index("the app's lifespan is open") < told.index("handled 7")
        assert told.index("handled 7") < told.index("the app's lifespan is closed")
    finally:
        running.kill()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--host-health", "here"), "--host-health takes HOST:PORT or :PORT, not here"),
        (("--app", "shop:app"), "a broker inside the app's process"),
    ],
)
def test_what_cannot_be_run_is_usage(
    folder: Path, cli: Cli, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "shop.py").write_text(APP)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "memory://")
    ran = cli("run", *words)
    assert ran.code == 2
    assert told in ran.err


async def test_probes_answer_as_those_of_a_router() -> None:
    status = BusStatus(Phase.STARTING, None, (), ())
    port = next(free_ports())
    async with (
        probes(lambda: status, HOST, port),
        httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as http,
    ):
        answer = await http.get("/health/kafka/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "starting")
        assert answer.headers["cache-control"] == "no-store"
        assert (await http.head("/health/kafka/live")).status_code == 200
        assert (await http.post("/health/kafka/live")).status_code == 405
        assert (await http.get("/")).status_code == 404


async def test_a_port_that_asks_nothing_holds_nothing_up() -> None:
    port = next(free_ports())
    status = BusStatus(Phase.RUNNING, None, (), ())
    async with probes(lambda: status, HOST, port):
        _, silent = await asyncio.open_connection(HOST, port)
        _, mad = await asyncio.open_connection(HOST, port)
        mad.write(b"x" * 100_000)
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as http:
            assert (await http.get("/health/kafka/startup")).status_code == 200
        for writer in (silent, mad):
            writer.close()
