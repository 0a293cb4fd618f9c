"""This package on the memory transport, watched by one of its own observers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from benchmarks.contestants import Handler
from benchmarks.contestants.ours_in_memory import consuming
from benchmarks.contestants.tracing import sampling_of, traced
from benchmarks.job import Job
from convex_messaging_fastapi import Observer, OpenTelemetry, Prometheus


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    if job.contestant.endswith("prometheus"):
        async with consuming(job, handler, [Prometheus(CollectorRegistry())]):
            yield
        return
    with traced(sampling_of(job)) as provider:
        observer: Observer = OpenTelemetry(provider)
        async with consuming(job, handler, [observer]):
            yield
