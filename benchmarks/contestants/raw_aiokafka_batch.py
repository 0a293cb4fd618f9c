"""The engine's fastest way to write: batches packed by hand, one future each, partitions in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks import messages
from benchmarks.contestants import PublishMany
from benchmarks.contestants.raw_aiokafka import producing
from benchmarks.job import Job
from benchmarks.messages import UserCreated

BATCH_BYTES = 256 * 1024


@asynccontextmanager
async def many(job: Job) -> AsyncIterator[PublishMany]:
    async with producing(job, max_batch_size=BATCH_BYTES) as producer:
        partitions = cycle(sorted(await producer.partitions_for(job.topic)))

        async def publish_many(events: Sequence[UserCreated]) -> object:
            futures = [
                await producer.send_batch(batch, job.topic, partition=next(partitions))
                for batch in _batches(producer, events, job)
            ]
            return await asyncio.gather(*futures)

        yield publish_many


def _batches(producer: AIOKafkaProducer, events: Sequence[UserCreated], job: Job) -> Iterator[BatchBuilder]:
    """Full batches, each closed, or `send` might add to it."""
    new_headers = messages.headers_for(job)
    batch = producer.create_batch()
    for event in events:
        value, headers = messages.encoded(event), new_headers()
        if batch.append(key=None, value=value, timestamp=None, headers=headers) is None:
            batch.close()
            yield batch
            batch = producer.create_batch()
            batch.append(key=None, value=value, timestamp=None, headers=headers)
    batch.close()
    yield batch
