"""librdkafka through confluent-kafka: the ceiling, with its own threads and no future a message."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from confluent_kafka import Consumer, Producer

from benchmarks import messages
from benchmarks.contestants import Handler, Publish, PublishMany, beside
from benchmarks.job import Job
from benchmarks.messages import UserCreated

PATIENCE_SECONDS = 30.0
QUEUED = 200_000


@asynccontextmanager
async def publisher(job: Job) -> AsyncIterator[Publish]:
    producer = _producer(job)
    new_headers = messages.headers_for(job)

    async def publish(event: UserCreated, key: str | None) -> object:
        producer.produce(job.topic, messages.encoded(event), key, headers=[*new_headers()])
        return producer.flush(PATIENCE_SECONDS)

    yield publish


@asynccontextmanager
async def many(job: Job) -> AsyncIterator[PublishMany]:
    producer = _producer(job)
    new_headers = messages.headers_for(job)

    async def publish_many(events: Sequence[UserCreated]) -> None:
        for event in events:
            key = messages.key(event.user_id, job.keys)
            producer.produce(job.topic, messages.encoded(event), key, headers=[*new_headers()])
        producer.flush(PATIENCE_SECONDS)
        await asyncio.sleep(0)  # nothing above gives the loop a turn, and it keeps the time

    yield publish_many


def _producer(job: Job) -> Producer:
    return Producer(
        {
            "bootstrap.servers": job.bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "queue.buffering.max.messages": QUEUED,
        }
    )


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    engine = Consumer(
        {
            "bootstrap.servers": job.bootstrap,
            "group.id": f"bench-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 5000,
        }
    )
    engine.subscribe([job.topic])
    try:
        async with beside(_consume(engine, handler)):
            yield
    finally:
        engine.close()


async def _consume(engine: Consumer, handler: Handler) -> None:
    validate = UserCreated.model_validate_json
    while True:
        for record in engine.consume(500, timeout=0.1):
            value = record.value()
            if value is not None and record.error() is None:
                await handler(validate(value))
        await asyncio.sleep(0)
