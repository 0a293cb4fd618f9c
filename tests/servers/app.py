"""The app that the servers serve: every process of it notes in one file what it does."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.requests import HTTPConnection

from convex_messaging_fastapi import Bus, Delivery, MessageBus, MessagingRouter

NOTES = "SERVERS_NOTES"
"""The variable that names the file."""
SLOW_SECONDS = 4

bus = MessageBus()


def note(*words: object) -> None:
    """One line, whoever else writes at the same time."""
    with Path(os.environ[NOTES]).open("a") as notes:
        notes.write(" ".join(map(str, (words[0], os.getpid(), *words[1:]))) + "\n")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.is_open = True
    note("opened")
    yield
    app.state.is_open = False
    note("closed")


app = FastAPI(lifespan=lifespan)
app.include_router(MessagingRouter(bus))


@app.post("/orders")
def place_orders(first: int, many: int, bus: Bus) -> None:
    for n in range(first, first + many):
        bus.publish_sync("orders", {"n": n}, key=str(n))


@app.post("/slow")
async def be_slow(bus: Bus, n: int = 1) -> None:
    await bus.publish("slow", {"n": n}, key="same")


@bus.subscriber("orders")
async def pass_on(order: dict[str, Any], bus: Bus) -> None:
    note("passed", order["n"])
    await bus.publish("shipments", order, key=str(order["n"]))


@bus.subscriber("shipments")
def ship(order: dict[str, Any], delivery: Delivery, connection: HTTPConnection) -> None:
    note("shipped", order["n"], delivery.message_id, connection.app.state.is_open)


@bus.subscriber("slow", id="async")
async def handle_slowly(order: dict[str, Any], connection: HTTPConnection) -> None:
    note("begun", "async", order["n"])
    await asyncio.sleep(SLOW_SECONDS)  # simulates work
    note("done", "async", order["n"], connection.app.state.is_open)


@bus.subscriber("slow", id="def")
def handle_slowly_in_a_thread(order: dict[str, Any], connection: HTTPConnection) -> None:
    note("begun", "def", order["n"])
    time.sleep(SLOW_SECONDS)  # simulates work
    note("done", "def", order["n"], connection.app.state.is_open)
