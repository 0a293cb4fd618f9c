"""fastkafka2 as its documentation shows it, over librdkafka: at least once, in order a partition."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastkafka2 import KafkaApp, KafkaHandler, KafkaMessage, KafkaProducer, Plaintext

from benchmarks import messages
from benchmarks.contestants import Handler, Publish, PublishMany
from benchmarks.job import Job
from benchmarks.messages import UserCreated


@asynccontextmanager
async def publisher(job: Job) -> AsyncIterator[Publish]:
    new_headers = messages.headers_for(job)
    async with _producing(job) as producer:

        async def publish(event: UserCreated, key: str | None) -> None:
            await producer.send_message(job.topic, event, headers=dict(new_headers()), key=key)

        yield publish


@asynccontextmanager
async def many(job: Job) -> AsyncIterator[PublishMany]:
    new_headers = messages.headers_for(job)
    async with _producing(job) as producer:

        async def publish_many(events: Sequence[UserCreated]) -> object:
            return await producer.send_many(
                job.topic,
                [*events],
                key=[messages.key(event.user_id, job.keys) for event in events],
                headers=[dict(new_headers()) for _ in events],
            )

        yield publish_many


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    handlers = KafkaHandler()

    async def handle(message: KafkaMessage[UserCreated, dict[str, str]]) -> None:
        await handler(message.data)

    handlers(job.topic)(handle)
    group = f"bench-{uuid.uuid4().hex}"
    app = KafkaApp("bench", "", job.bootstrap, group, Plaintext())
    app.include_handler(handlers)
    await app.start()
    try:
        yield
    finally:
        await app.stop()


@asynccontextmanager
async def _producing(job: Job) -> AsyncIterator[KafkaProducer]:
    """Its limit of a list is the job's; one publisher by itself would linger 5 ms for nobody."""
    config: dict[str, Any] = {"linger.ms": 0} if job.kind == "sequential" else {}
    producer = KafkaProducer(
        job.bootstrap, Plaintext(), config, max_batch_messages=max(job.chunk, job.concurrency)
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
