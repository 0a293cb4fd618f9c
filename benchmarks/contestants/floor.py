"""What no transport can go below: validate the bytes and await the handler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import cycle, islice

from benchmarks import messages
from benchmarks.contestants import Handler, beside
from benchmarks.job import Job
from benchmarks.messages import UserCreated

DIFFERENT = 10_000


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    values = [messages.encoded(messages.message(number, job.size)) for number in range(DIFFERENT)]
    async with beside(_handle(islice(cycle(values), job.count), handler)):
        yield


async def _handle(values: Iterable[bytes], handler: Handler) -> None:
    validate = UserCreated.model_validate_json
    for value in values:
        await handler(validate(value))
