"""What a team may write over its engine: all that is published in one turn of the loop goes out together.

A page over aiokafka, for messages without keys: batches packed by hand, partitions in turn, one future
for each caller. It promises what the engine does, and has no receipts, no deadlines, no bound on
memory, and nothing to say of a message that may have been written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks import messages
from benchmarks.contestants import Publish
from benchmarks.contestants.raw_aiokafka import producing
from benchmarks.contestants.raw_aiokafka_batch import BATCH_BYTES
from benchmarks.job import Job
from benchmarks.messages import UserCreated


class Waiting(NamedTuple):
    event: UserCreated
    done: asyncio.Future[None]


class Coalescing:
    def __init__(self, producer: AIOKafkaProducer, job: Job, partitions: Sequence[int]) -> None:
        self._producer = producer
        self._topic = job.topic
        self._new_headers = messages.headers_for(job)
        self._partitions = cycle(partitions)
        self._waiting: list[Waiting] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def publish(self, event: UserCreated, key: str | None) -> None:
        loop = asyncio.get_running_loop()
        waiting = Waiting(event, loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            loop.call_soon(self._send_all)
        await waiting.done

    def _send_all(self) -> None:
        together, self._waiting = self._waiting, []
        sending = asyncio.create_task(self._send(together))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send(self, together: Sequence[Waiting]) -> None:
        while together:
            batch = self._producer.create_batch()
            taken = self._pack(batch, together)
            written = await self._producer.send_batch(batch, self._topic, partition=next(self._partitions))
            written.add_done_callback(partial(_tell, together[:taken]))
            together = together[taken:]

    def _pack(self, batch: BatchBuilder, together: Sequence[Waiting]) -> int:
        for number, waiting in enumerate(together):
            value, headers = messages.encoded(waiting.event), self._new_headers()
            if batch.append(key=None, value=value, timestamp=None, headers=headers) is None:
                batch.close()
                return number
        batch.close()
        return len(together)


def _tell(together: Sequence[Waiting], written: asyncio.Future[object]) -> None:
    error = written.exception()
    for waiting in together:
        if waiting.done.done():
            continue
        if error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)


@asynccontextmanager
async def publisher(job: Job) -> AsyncIterator[Publish]:
    async with producing(job, max_batch_size=BATCH_BYTES) as producer:
        partitions = sorted(await producer.partitions_for(job.topic))
        yield Coalescing(producer, job, partitions).publish
