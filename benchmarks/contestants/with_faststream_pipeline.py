"""FastStream's pipeline by itself: records given straight to a subscriber, without a consumer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.structs import ConsumerRecord
from faststream.kafka import KafkaBroker

from benchmarks import messages
from benchmarks.contestants import Handler, beside
from benchmarks.job import Job

DIFFERENT = 10_000


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    async with consuming(job, handler):
        yield


@asynccontextmanager
async def consuming(job: Job, handler: Handler, middlewares: Sequence[Any] = ()) -> AsyncIterator[None]:
    broker = KafkaBroker(logger=None, middlewares=middlewares)
    subscriber = broker.subscriber(job.topic, group_id="bench")
    subscriber(handler)
    records = [_record(job, number) for number in range(DIFFERENT)]
    # As its `start` does, but for the consumer; its own test broker wraps the handler in slow mocks.
    subscriber._build_fastdepends_model()
    subscriber._post_start()
    broker._setup_logger()
    async with beside(_handle(subscriber, records, job.count)):
        yield


async def _handle(subscriber: Any, records: list[Any], count: int) -> None:
    for number in range(count):
        await subscriber.process_message(records[number % DIFFERENT])


def _record(job: Job, number: int) -> Any:
    value = messages.encoded(messages.message(number, job.size))
    key = messages.key(number, job.keys)
    return ConsumerRecord(
        topic=job.topic,
        partition=0,
        offset=number,
        timestamp=1767225600000,
        timestamp_type=0,
        key=None if key is None else key.encode(),
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=len(value),
        headers=tuple(messages.HEADERS) if job.headers != "none" else (),
    )
