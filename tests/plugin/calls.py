"""Calls to an ASGI app without a server, a socket, or a lifespan that nobody asked for."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convex_messaging_fastapi.bus import MessageBus
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.status import BusStatus

MEMORY = MessagingSettings(bootstrap_servers="memory://", consumer_group="billing")


class ScriptedBus(MessageBus):
    """Never runs: shows a snapshot made by hand, and counts how often it was looked at."""

    def __init__(self, snapshot: BusStatus) -> None:
        super().__init__(MEMORY)
        self.snapshot = snapshot
        self.looks = 0

    def status(self) -> BusStatus:
        self.looks += 1
        return self.snapshot


def running(app: FastAPI) -> AbstractAsyncContextManager[Any]:
    """Runs the lifespan of `app`, and fills no request's state, as is usual with httpx."""
    return app.router.lifespan_context(app)


async def call(app: ASGIApp, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        return await client.request(method, path, **options)


async def websocket_text(app: ASGIApp, path: str) -> str:
    """The first text that a WebSocket says after it was accepted."""
    said: list[Message] = []
    await app(_websocket_scope(path), _connects, _into(said))
    text: str = next(message["text"] for message in said if message["type"] == "websocket.send")
    return text


def with_state(app: ASGIApp, state: dict[str, Any]) -> ASGIApp:
    """As a server calls it: every request has a copy of what the lifespan yielded."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return serve


def _websocket_scope(path: str) -> Scope:
    return {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "subprotocols": [],
    }


async def _connects() -> Message:
    return {"type": "websocket.connect"}


def _into(said: list[Message]) -> Send:
    async def send(message: Message) -> None:
        said.append(message)

    return send
