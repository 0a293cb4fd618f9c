"""fastkafka2's app in the lifespan of a FastAPI app, started and stopped as its documentation says.

`FAULTS_ON_ERROR` names one of its policies for a message whose handler keeps failing; without it the
default is taken, which pauses the partition. Ready asks whether its consumer runs, which is all that
fastkafka2 can tell; live says 200.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition
from fastapi import FastAPI, Response
from fastkafka2 import KafkaApp, KafkaHandler, KafkaMessage, Plaintext
from fastkafka2.core.partition_processor import PartitionProcessor, QueuedMessage
from fastkafka2.infrastructure.helpers import async_client

from tests.faults.outside.handling import BOOTSTRAP, GROUP, SESSION_MS, TOPIC, Work, handle, ledger, told

ON_ERROR = os.environ.get("FAULTS_ON_ERROR")
choices: dict[str, Any] = {} if ON_ERROR is None else {"on_error": ON_ERROR}


class Taken(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None


taken: ContextVar[Taken] = ContextVar("taken")
"""Which record is handled here: fastkafka2 tells a handler neither partition nor offset."""


def remember_records() -> None:
    process = PartitionProcessor._process_with_retry

    async def noted(processor: PartitionProcessor, queued: QueuedMessage) -> bool:
        key = None if queued.key is None else queued.key.encode()
        taken.set(Taken(processor.topic, processor.partition, queued.offset, key))
        done: bool = await process(processor, queued)
        return done

    setattr(PartitionProcessor, "_process_with_retry", noted)  # noqa: B010 - it has no types to assign by


class Noting(Consumer):
    """Notes what is committed, by the timer and when partitions are taken away."""

    def commit(self, *, offsets: Sequence[TopicPartition], **choices: Any) -> Any:  # type: ignore[override]
        _note("commit", offsets)
        answers = super().commit(offsets=list(offsets), **choices)
        _note("committed", offsets)
        return answers


def _note(event: str, offsets: Sequence[TopicPartition]) -> None:
    for each in offsets:
        ledger.note(event, topic=each.topic, partition=each.partition, offset=each.offset)


remember_records()
async_client.Consumer = Noting

handlers = KafkaHandler()


async def work(message: KafkaMessage[Work, dict[str, str]]) -> None:
    await handle(message.data, taken.get())


handlers(TOPIC)(work)


kafka = KafkaApp(
    "work",
    "the work of the fault tests",
    BOOTSTRAP,
    GROUP,
    Plaintext(),
    consumer_config={"session.timeout.ms": SESSION_MS},
    auto_create_dlt=True,
    dlt_replication_factor=1,
    **choices,
)
kafka.include_handler(handlers)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await kafka.start()
    yield
    ledger.note("stopping")
    await kafka.stop()
    ledger.note("stopped")


app = FastAPI(lifespan=lifespan)
app.include_router(told)


@app.get("/health/kafka/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/health/kafka/ready")
async def ready() -> Response:
    return Response(status_code=200 if kafka.get_stats()["running"] else 503)
