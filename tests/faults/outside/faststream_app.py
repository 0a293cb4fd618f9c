"""FastStream's router for FastAPI, as its documentation shows it.

`FAULTS_ACK_POLICY` names one of its policies; without it the default is taken. The worker starts at
the earliest record, for at FastStream's default, the latest, it would miss what was written before
it joined. Ready asks the broker for a ping, which is all that FastStream can tell; live says 200.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response
from faststream import AckPolicy
from faststream.kafka.fastapi import KafkaMessage, KafkaRouter

from tests.faults.outside.handling import BOOTSTRAP, GROUP, SESSION_MS, TOPIC, Work, handle, ledger, told

PING_SECONDS = 3.0

policy = os.environ.get("FAULTS_ACK_POLICY")
choices: dict[str, Any] = {} if policy is None else {"ack_policy": AckPolicy[policy]}

router = KafkaRouter(BOOTSTRAP)


async def work(message: Work, record: KafkaMessage) -> None:
    await handle(message, record.raw_message)


async def note_the_beginning_of_the_end(app: FastAPI) -> None:
    ledger.note("stopping")


router.subscriber(
    TOPIC, group_id=GROUP, session_timeout_ms=SESSION_MS, auto_offset_reset="earliest", **choices
)(work)
router.on_broker_shutdown(note_the_beginning_of_the_end)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The app's own is outermost: what comes after its `yield` comes after the broker has stopped."""
    yield
    ledger.note("stopped")


app = FastAPI(lifespan=lifespan)
app.include_router(router)
app.include_router(told)


@app.get("/health/kafka/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/health/kafka/ready")
async def ready() -> Response:
    return Response(status_code=200 if await router.broker.ping(PING_SECONDS) else 503)
