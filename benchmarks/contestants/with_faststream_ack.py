"""FastStream with `AckPolicy.ACK`, its setting that survives a crash: one commit a message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream import AckPolicy

from benchmarks.contestants import Handler
from benchmarks.contestants.with_faststream import consuming
from benchmarks.job import Job


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    async with consuming(job, handler, AckPolicy.ACK):
        yield
