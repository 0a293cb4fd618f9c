"""The loop that services have without a library: aiokafka's example in a task of the lifespan.

Its defaults are the engine's: offsets are committed by a timer. A handler that fails is logged and
left behind; with `FAULTS_CATCHES=no` it ends the loop, as it does in that example. The probes say
200, as long as the process answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer
from fastapi import FastAPI

from tests.faults.outside.handling import BOOTSTRAP, GROUP, SESSION_MS, TOPIC, Work, handle, ledger, told

catches = os.environ.get("FAULTS_CATCHES") != "no"
log = logging.getLogger("loop_app")


async def consume(consumer: AIOKafkaConsumer) -> None:
    async for record in consumer:
        try:
            await handle(Work.model_validate_json(record.value), record)
        except Exception:
            if not catches:
                raise
            log.exception("a message failed")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=BOOTSTRAP,
        group_id=GROUP,
        session_timeout_ms=SESSION_MS,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    consuming = asyncio.create_task(consume(consumer))
    try:
        yield
    finally:
        ledger.note("stopping")
        consuming.cancel()
        with suppress(asyncio.CancelledError):
            await consuming
        await consumer.stop()
        ledger.note("stopped")


app = FastAPI(lifespan=lifespan)
app.include_router(told)


@app.get("/health")
@app.get("/health/kafka/live")
@app.get("/health/kafka/ready")
async def health() -> dict[str, str]:
    return {"status": "ok"}
