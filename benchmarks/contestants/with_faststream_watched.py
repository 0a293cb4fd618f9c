"""FastStream's pipeline by itself, watched by one of its own middlewares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream.kafka.opentelemetry import KafkaTelemetryMiddleware
from faststream.kafka.prometheus import KafkaPrometheusMiddleware
from prometheus_client import CollectorRegistry

from benchmarks.contestants import Handler
from benchmarks.contestants.tracing import sampling_of, traced
from benchmarks.contestants.with_faststream_pipeline import consuming
from benchmarks.job import Job


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    if job.contestant.endswith("prometheus"):
        middleware = KafkaPrometheusMiddleware(registry=CollectorRegistry())
        async with consuming(job, handler, [middleware]):
            yield
        return
    with traced(sampling_of(job)) as provider:
        async with consuming(job, handler, [KafkaTelemetryMiddleware(tracer_provider=provider)]):
            yield
