"""FastStream with its default acknowledgement policy, its log lines switched off."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from benchmarks import messages
from benchmarks.contestants import Handler, Publish, PublishMany
from benchmarks.job import Job
from benchmarks.messages import UserCreated

ITS_OWN = ("correlation-id", "content-type")
"""Headers that FastStream writes itself, the first under the name `correlation_id`."""


@asynccontextmanager
async def publisher(job: Job) -> AsyncIterator[Publish]:
    new_headers = messages.headers_for(job)
    async with KafkaBroker(job.bootstrap, acks="all", enable_idempotence=True, logger=None) as broker:
        await broker.start()

        async def publish(event: UserCreated, key: str | None) -> object:
            return await broker.publish(
                event, job.topic, key=None if key is None else key.encode(), headers=_its_share(new_headers())
            )

        yield publish


@asynccontextmanager
async def many(job: Job) -> AsyncIterator[PublishMany]:
    async with publisher(job) as publish:

        async def publish_many(events: Sequence[UserCreated]) -> object:
            calls = (publish(event, messages.key(event.user_id, job.keys)) for event in events)
            return await asyncio.gather(*calls)

        yield publish_many


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    async with consuming(job, handler):
        yield


@asynccontextmanager
async def consuming(
    job: Job, handler: Handler, policy: AckPolicy | None = None, workers: int = 1
) -> AsyncIterator[None]:
    broker = KafkaBroker(job.bootstrap, logger=None)
    choices: dict[str, Any] = {} if policy is None else {"ack_policy": policy}
    group = f"bench-{uuid.uuid4().hex}"
    subscribe = broker.subscriber(
        job.topic, group_id=group, auto_offset_reset="earliest", max_workers=workers, **choices
    )
    subscribe(handler)
    await broker.start()
    try:
        yield
    finally:
        await broker.stop()


def _its_share(headers: messages.Headers) -> dict[str, str]:
    return {name: value.decode() for name, value in headers if name not in ITS_OWN}
