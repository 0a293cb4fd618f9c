"""An app, what a call finds around it, and a delivery, for calls by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from fastapi import FastAPI

from convex_messaging_fastapi.consuming.calling import CallContext, compile_call
from convex_messaging_fastapi.consuming.threads import HandlerThreads
from convex_messaging_fastapi.records import Delivery, Record

Call = Callable[..., Coroutine[Any, Any, None]]


@pytest.fixture
def app() -> FastAPI:
    return FastAPI()


@pytest.fixture
async def threads() -> AsyncIterator[HandlerThreads]:
    pool = HandlerThreads(4)
    yield pool
    pool.close()


@pytest.fixture
def call_context(app: FastAPI, threads: HandlerThreads) -> CallContext:
    return CallContext(app=app, state={"messaging_bus": "the bus"}, threads=threads)


@pytest.fixture
def delivery() -> Delivery:
    return Delivery(Record("user.created", 3, 42, 0, b"7", b'"hello"'))


@pytest.fixture
def call(call_context: CallContext, delivery: Delivery) -> Call:
    """Compile a handler and call it once with a message."""

    async def call(handler: Callable[..., Any], message: Any = "hello") -> None:
        await compile_call(handler).call(message, delivery, call_context)

    return call
