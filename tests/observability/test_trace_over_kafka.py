"""The trace of a request goes through a real Kafka to the dead letter, and its replay links to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from opentelemetry.trace import format_trace_id
from prometheus_client import CollectorRegistry

from convex_messaging_fastapi import MessageBus, OpenTelemetry, Prometheus, Retry
from convex_messaging_fastapi.operations import Filter
from tests.bus.test_letters_over_kafka import SECONDS, settings_of
from tests.observability.scraping import of, scrape
from tests.observability.test_opentelemetry import Traced, id_of, linked, parent_of
from tests.support.independent import Independent
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster


async def test_one_trace_and_a_replay_that_links_to_it(kafka: Cluster, unique: str) -> None:
    traced, registry = Traced(), CollectorRegistry()
    observers = [OpenTelemetry(traced.provider), Prometheus(registry)]
    settings = settings_of(kafka, unique, create_topics=True, publish_timeout_seconds=SECONDS)
    bus = MessageBus(settings, observers=observers)
    fails = [True, True]

    @bus.subscriber("order", id="take")
    async def take(message: dict[str, Any]) -> None:
        await bus.publish("payment", message)

    @bus.subscriber("payment", id="pay", retry=Retry(attempts=2, delay_seconds=0.1))
    async def pay(message: dict[str, Any]) -> None:
        if fails:
            raise ValueError(fails.pop())

    async with bus:
        with traced.tracer.start_as_current_span("POST /orders"):
            await bus.publish("order", {"n": 1})
        letters = f"send {unique}.dlq"
        await eventually(lambda: bool(traced.spans(letters)), SECONDS, "the dead letter")
        request, send, taken, second_send, first, second, letter = traced.spans()
        parents = [parent_of(span) for span in (send, taken, second_send, first, second, letter)]
        forwarded = id_of(second_send)
        assert parents == [id_of(request), id_of(send), id_of(taken), forwarded, forwarded, id_of(second)]
        assert len({span.context.trace_id for span in traced.spans()}) == 1
        with traced.tracer.start_as_current_span("POST /replay"):
            job = await bus.operations.replay(Filter(), by="ada", dry_run=False)
            await bus.operations.wait_for(job.id)
        await eventually(lambda: len(traced.spans(f"process {unique}.payment")) == 3, SECONDS, "the replay")
        again, replay = traced.spans(f"process {unique}.payment")[-1], traced.one("POST /replay")
        assert parent_of(again) == id_of(replay)
        assert linked(again) == [format_trace_id(request.context.trace_id)]
        assert of(scrape(registry), "replayed_total") == {(unique,): 1}
        await eventually(lambda: f"{unique}.payment" in lags(registry), SECONDS, "the lag")


def lags(registry: CollectorRegistry) -> set[str]:
    """Topics whose lag is known, nothing behind included."""
    return {sample.labels["topic"] for sample in scrape(registry) if sample.name == "convex_messaging_lag"}


@pytest.fixture
def instrumented() -> Iterator[Traced]:
    """Where the instrumentation of aiokafka is active too."""
    traced = Traced()
    neighbour = pytest.importorskip("opentelemetry.instrumentation.aiokafka").AIOKafkaInstrumentor()
    neighbour.instrument(tracer_provider=traced.provider)
    yield traced
    neighbour.uninstrument()


async def test_the_instrumentation_of_aiokafka_neither_doubles_a_trace_nor_stops_at_what_it_cannot_read(
    instrumented: Traced, kafka: Cluster, independent: Independent, unique: str
) -> None:
    """It raises for a `traceparent` that is no text, which would hold up the partition for ever."""
    settings = settings_of(kafka, unique, create_topics=True, publish_timeout_seconds=SECONDS)
    bus = MessageBus(settings, observers=[OpenTelemetry(instrumented.provider)])
    handled = list[int]()

    @bus.subscriber("bet", id="pay")
    async def pay(message: dict[str, Any]) -> None:
        handled.append(message["n"])

    async with bus:
        where = (await bus.publish("bet", {"n": 0}, key="ada")).partition
        write = partial(independent.write, headers=[("traceparent", b"\xff\xfe")], partition=where)
        await asyncio.to_thread(write, f"{unique}.bet", ['{"n": 1}'])
        await bus.publish("bet", {"n": 2}, key="ada")
        await eventually(lambda: len(handled) == 3, SECONDS, "all three")
    assert sorted(handled) == [0, 1, 2]
    made = {span.name for span in instrumented.spans()}
    assert made == {f"send {unique}.bet", f"process {unique}.bet"}
    for record in independent.read(f"{unique}.bet"):
        assert [name for name, _ in record.headers].count("traceparent") == 1
