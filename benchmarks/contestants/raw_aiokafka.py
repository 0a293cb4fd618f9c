"""The engine by itself, used well: `send_and_wait`, `send` and gather, `getmany` with a batched commit."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks import messages
from benchmarks.contestants import Handler, Publish, PublishMany, beside
from benchmarks.job import Job
from benchmarks.messages import UserCreated

COMMIT_SECONDS = 5.0


@asynccontextmanager
async def producing(job: Job, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=job.bootstrap, acks="all", enable_idempotence=True, **options
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def publisher(job: Job) -> AsyncIterator[Publish]:
    new_headers = messages.headers_for(job)
    async with producing(job) as producer:

        async def publish(event: UserCreated, key: str | None) -> object:
            value = messages.encoded(event)
            return await producer.send_and_wait(
                job.topic, value, key=None if key is None else key.encode(), headers=new_headers()
            )

        yield publish


@asynccontextmanager
async def many(job: Job) -> AsyncIterator[PublishMany]:
    new_headers = messages.headers_for(job)
    async with producing(job) as producer:

        async def publish_many(events: Sequence[UserCreated]) -> object:
            futures = []
            for event in events:
                key = messages.key(event.user_id, job.keys)
                value = messages.encoded(event)
                futures.append(
                    await producer.send(
                        job.topic, value, key=None if key is None else key.encode(), headers=new_headers()
                    )
                )
            return await asyncio.gather(*futures)

        yield publish_many


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    engine = AIOKafkaConsumer(
        job.topic,
        bootstrap_servers=job.bootstrap,
        group_id=f"bench-{uuid.uuid4().hex}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await engine.start()
    try:
        async with beside(_consume(engine, handler)):
            yield
    finally:
        await engine.stop()


async def _consume(engine: AIOKafkaConsumer, handler: Handler) -> None:
    validate = UserCreated.model_validate_json
    commit_at = time.monotonic() + COMMIT_SECONDS
    while True:
        batches = await engine.getmany(timeout_ms=200, max_records=500)
        for records in batches.values():
            for record in records:
                await handler(validate(record.value))
        if time.monotonic() >= commit_at:
            # All that was fetched has been handled by now, so the engine's positions are safe.
            await engine.commit()
            commit_at = time.monotonic() + COMMIT_SECONDS
