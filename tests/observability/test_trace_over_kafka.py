"""The trace of a request goes through a real Kafka to the dead letter, and its replay links to it."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import format_trace_id
from prometheus_client import CollectorRegistry

from convex_messaging_fastapi import MessageBus, OpenTelemetry, Prometheus, Retry
from convex_messaging_fastapi.operations import Filter
from tests.bus.test_letters_over_kafka import SECONDS, settings_of
from tests.observability.scraping import of, scrape
from tests.observability.test_opentelemetry import Traced, id_of, linked, parent_of
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster


async def test_one_trace_and_a_replay_that_links_to_it(kafka: Cluster, unique: str) -> None:
    traced, registry = Traced(), CollectorRegistry()
    observers = [OpenTelemetry(traced.provider), Prometheus(registry)]
    bus = MessageBus(settings_of(kafka, unique, create_topics=True), observers=observers)
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
