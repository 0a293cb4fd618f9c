"""FastStream with its default policy and as many workers as handlers may run side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.contestants import Handler
from benchmarks.contestants.with_faststream import consuming
from benchmarks.job import Job


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    async with consuming(job, handler, workers=job.concurrency):
        yield
