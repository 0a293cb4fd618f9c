"""What else watches an app does so beside ours: one trace through both, and one `/metrics` of both."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.trace import SpanKind

from convex_messaging_fastapi import MessageBus, MessagingRouter, OpenTelemetry, Prometheus
from tests.bus.support import Bet, memory_bus
from tests.observability.test_opentelemetry import Traced, id_of, parent_of

instrumentation = pytest.importorskip("opentelemetry.instrumentation.fastapi")
instrumentator = pytest.importorskip("prometheus_fastapi_instrumentator")


def app_of(bus: MessageBus) -> FastAPI:
    app = FastAPI()
    app.include_router(MessagingRouter(bus))

    @app.post("/orders")
    async def place(order: Bet) -> None:
        await bus.publish("order", order)

    return app


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield client


async def test_fastapis_own_span_is_the_parent_of_what_a_request_publishes() -> None:
    traced, handled = Traced(), asyncio.Event()
    bus = memory_bus(observers=[OpenTelemetry(traced.provider)])

    @bus.subscriber("order", id="take")
    async def take(order: Bet) -> None:
        handled.set()

    app = app_of(bus)
    instrumentation.FastAPIInstrumentor.instrument_app(app, tracer_provider=traced.provider)
    async with bus.test(app) as t, client_of(app) as client:
        (await client.post("/orders", json={"BetId": 1})).raise_for_status()
        await t.settle()
    assert handled.is_set()
    (request,) = [span for span in traced.spans() if span.kind is SpanKind.SERVER]
    send, process = traced.one("send"), traced.one("process")
    assert [parent_of(span) for span in (request, send, process)] == [None, id_of(request), id_of(send)]
    assert {span.context.trace_id for span in (send, process)} == {request.context.trace_id}


async def test_the_metrics_of_a_bus_are_at_the_address_where_those_of_requests_are() -> None:
    """With nothing but the observer: both libraries use the default registry."""
    bus = memory_bus(observers=[Prometheus()])
    app = app_of(bus)
    instrumentator.Instrumentator().instrument(app).expose(app)
    async with bus.test(app) as t, client_of(app) as client:
        (await client.post("/orders", json={"BetId": 1})).raise_for_status()
        await t.settle()
        told = (await client.get("/metrics")).text
    assert 'http_requests_total{handler="/orders"' in told
    assert 'convex_messaging_published_total{outcome="written",topic="convex.order"} 1.0' in told or (
        'convex_messaging_published_total{topic="convex.order",outcome="written"} 1.0' in told
    )


INSTRUMENTED_FIRST = """
import aiokafka
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor
AIOKafkaInstrumentor().instrument()
assert hasattr(aiokafka.AIOKafkaConsumer.getmany, "__wrapped__")
from convex_messaging_fastapi.transport.kafka.engine import partition_reader
assert not hasattr(partition_reader._getmany, "__wrapped__")
"""


def test_the_engine_is_asked_itself_where_an_instrumentation_came_first() -> None:
    """As `opentelemetry-instrument` does; see test_trace_over_kafka for what would come of it."""
    subprocess.run([sys.executable, "-c", INSTRUMENTED_FIRST], check=True, timeout=60)
