"""One run behind a real server, with sockets, a lifespan and its state."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.plugin import Bus, MessagingRouter
from convex_messaging_fastapi.status import Phase
from tests.plugin.calls import MEMORY


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of `app`; at the end the server has shut down in order."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # so that a client waits for the server, instead of being refused
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def test_a_served_app_publishes_answers_probes_and_stops_its_bus() -> None:
    bus = MessageBus(MEMORY)
    app, mounted = FastAPI(), FastAPI()
    app.include_router(MessagingRouter(bus))
    app.mount("/v1", mounted)

    @app.post("/users")
    @mounted.post("/users")
    async def create_user(bus: Bus) -> str:
        return (await bus.publish("user.created", {"id": 1})).topic

    with served(app) as address, httpx.Client(base_url=address, timeout=20) as client:
        assert client.get("/health/kafka").json() == {"status": "up"}
        assert client.get("/health/kafka/startup").status_code == 200
        head = client.head("/health/kafka/ready")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "15", b"")
        assert client.post("/users").json() == "convex.user.created"
        assert client.post("/v1/users").json() == "convex.user.created"
        assert bus.status().phase is Phase.RUNNING
    assert bus.status().phase is Phase.STOPPED
