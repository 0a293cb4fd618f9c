"""This package without a broker: the whole bus on the memory transport, over records that wait there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from benchmarks import messages
from benchmarks.contestants import Handler
from benchmarks.job import Job
from convex_messaging_fastapi import MessageBus, MessagingSettings, Observer
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.transport.base import NewTopic
from convex_messaging_fastapi.transport.memory import MemoryBroker, shared_broker

_NAME = "bench"
_PARTITIONS = 12


@asynccontextmanager
async def consumer(job: Job, handler: Handler) -> AsyncIterator[None]:
    async with consuming(job, handler):
        yield


@asynccontextmanager
async def consuming(job: Job, handler: Handler, observers: Iterable[Observer] = ()) -> AsyncIterator[None]:
    broker = shared_broker(_NAME, SystemClock())
    _fill(broker, job)
    settings = MessagingSettings(
        bootstrap_servers=f"memory://{_NAME}", topic_prefix="", consumer_group="bench"
    )
    bus = MessageBus(settings, observers=observers)
    bus.subscriber(job.topic, concurrency=job.concurrency)(handler)
    async with bus:
        yield


def _fill(broker: MemoryBroker, job: Job) -> None:
    broker.ensure(NewTopic(job.topic, _PARTITIONS))
    headers = tuple(messages.HEADERS) if job.headers != "none" else ()
    waiting: list[list[OutgoingRecord]] = [[] for _ in range(_PARTITIONS)]
    for number in range(job.count):
        # A key has one partition, whichever: spread the keys, not the numbers.
        key = messages.key(number, job.keys)
        place = (number % job.keys if key else number) % _PARTITIONS
        value = messages.encoded(messages.message(number, job.size))
        waiting[place].append(OutgoingRecord(key.encode() if key else None, value, headers))
    for place, records in enumerate(waiting):
        while records:
            taken = broker.append(TopicPartition(job.topic, place), records).taken
            del records[:taken]
