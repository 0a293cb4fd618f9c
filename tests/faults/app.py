"""The app that fault tests run as processes: handlers that take their time, or hang, and note what they do.

`KAFKA_*` variables are its settings. Besides: `FAULTS_LEDGER` is where it notes, `FAULTS_NAME` who it
is, `FAULTS_TOPICS` what it handles, `FAULTS_SEED` and `FAULTS_SLOWEST_SECONDS` how long that takes,
`FAULTS_STUCK_EVERY` how many ids lie between those that take `FAULTS_STUCK_SECONDS` (as good as for
ever when there are none), `FAULTS_FLAKY_EVERY` how many between those that fail the first time,
`FAULTS_POISONED` the key whose records fail, and those of keys below it (`key/1`), until there is a file
`FAULTS_CURE`, `FAULTS_LOG` the level from which on it logs, `FAULTS_IN_A_THREAD` is there when work is
done in threads, `FAULTS_PASSES_ON` names the topic that work is passed on to, `FAULTS_METADATA_MS`
how old metadata may grow; `accidents.py` and `failpoints.py` have some more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse

from convex_messaging_fastapi import (
    Bus,
    ConvexMessage,
    Delivery,
    MessageBus,
    MessagingRouter,
    PublishError,
)
from convex_messaging_fastapi.transport.kafka import transport
from convex_messaging_fastapi.transport.kafka.tuning import Tuning
from tests.faults import accidents, failpoints, mutants, watching
from tests.support.ledgers import Writer

WORK, OTHER, THIRD = "work", "other", "third"
HANGS, HANGS_IN_A_THREAD = "hangs", "hangs.in.a.thread"


class Work(ConvexMessage):
    id: int
    memo: str = ""


logging.basicConfig(level=os.environ.get("FAULTS_LOG", "WARNING"), format="%(asctime)s %(name)s %(message)s")
logging.getLogger("convex_messaging_fastapi").setLevel(logging.DEBUG)

ledger = Writer(os.environ["FAULTS_LEDGER"], os.environ["FAULTS_NAME"])
slowest = float(os.environ.get("FAULTS_SLOWEST_SECONDS", "0"))
stuck_every = int(os.environ.get("FAULTS_STUCK_EVERY", "0"))
stuck_seconds = float(os.environ.get("FAULTS_STUCK_SECONDS", "3600"))
flaky_every = int(os.environ.get("FAULTS_FLAKY_EVERY", "0"))
chance = random.Random(os.environ.get("FAULTS_SEED", "0"))
poisoned = os.environ.get("FAULTS_POISONED")
passes_on = os.environ.get("FAULTS_PASSES_ON")

watching.watch(ledger)
failpoints.watch()
if age := os.environ.get("FAULTS_METADATA_MS"):
    setattr(transport, "Tuning", partial(Tuning, metadata_max_age_ms=int(age)))  # noqa: B010 - no export
if mutant := os.environ.get(mutants.VARIABLE):
    mutants.apply(mutant)


async def work(message: Work, delivery: Delivery) -> None:
    """Takes up to `FAULTS_SLOWEST_SECONDS`."""
    about = record_of(message, delivery)
    ledger.note("start", **about)
    try:
        accidents.happen(message.id)
        if accidents.hangs(message.id):
            await asyncio.Event().wait()
        await asyncio.sleep(seconds_for(message))  # simulates work
        if passes_on:
            await bus.publish(passes_on, message, key=about["key"])
            failpoints.reach(failpoints.PASSED_ON)
    except asyncio.CancelledError:
        ledger.note("cancelled", **about)
        raise
    if is_poisoned(about["key"]):
        ledger.note("error", **about)
        raise ValueError("a poisoned key")
    if flaky_every and message.id % flaky_every == 0 and delivery.attempt == 1:
        ledger.note("error", **about)
        raise ValueError("it goes well the next time")
    ledger.note("ok", **about)


def work_in_a_thread(message: Work, delivery: Delivery) -> None:
    """As `work`, but nobody can cancel it."""
    about = record_of(message, delivery)
    ledger.note("start", **about)
    if accidents.hangs(message.id):
        threading.Event().wait()
    time.sleep(seconds_for(message))  # simulates work
    ledger.note("ok", **about)


def is_poisoned(key: str | None) -> bool:
    return (
        key is not None
        and key.partition("/")[0] == poisoned
        and not os.path.exists(os.environ["FAULTS_CURE"])
    )


def seconds_for(message: Work) -> float:
    if stuck_every and message.id % stuck_every == 0:
        return stuck_seconds
    return chance.uniform(0, slowest)


async def hang(message: Work, delivery: Delivery) -> None:
    """Never returns, and does not mind being cancelled."""
    ledger.note("start", **record_of(message, delivery))
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ledger.note("cancelled", **record_of(message, delivery))


def hang_in_a_thread(message: Work, delivery: Delivery) -> None:
    """Never returns."""
    ledger.note("start", **record_of(message, delivery))
    threading.Event().wait()


def record_of(message: Work, delivery: Delivery) -> dict[str, Any]:
    return {
        "topic": delivery.topic,
        "partition": delivery.partition,
        "offset": delivery.offset,
        "key": None if delivery.key is None else delivery.key.decode(),
        "id": message.id,
    }


in_a_thread = "FAULTS_IN_A_THREAD" in os.environ
at_work = work_in_a_thread if in_a_thread else work
HANDLERS = {WORK: at_work, OTHER: at_work, THIRD: at_work, HANGS: hang, HANGS_IN_A_THREAD: hang_in_a_thread}

bus = MessageBus()
for topic in filter(None, os.environ.get("FAULTS_TOPICS", WORK).split(",")):
    bus.subscriber(topic, id=topic)(HANDLERS[topic])


@asynccontextmanager
async def note_the_end_of_everything(app: FastAPI) -> AsyncIterator[None]:
    """The app's own lifespan is outermost: what comes after its `yield` comes after the bus has stopped."""
    yield
    ledger.note("stopped")


@asynccontextmanager
async def note_the_beginning_of_the_end(app: FastAPI) -> AsyncIterator[None]:
    """The last router's lifespan is innermost: what comes after its `yield` comes before the bus stops."""
    yield
    ledger.note("stopping")


app = FastAPI(lifespan=note_the_end_of_everything)
app.include_router(MessagingRouter(bus, details=lambda request: True))
app.include_router(APIRouter(lifespan=note_the_beginning_of_the_end))


@app.get("/tasks", response_class=PlainTextResponse)
async def tasks() -> str:
    return str(len(asyncio.all_tasks()))


@app.post("/work/{id}", status_code=201)
async def give_work(id: int, bus: Bus) -> dict[str, int]:
    try:
        receipt = await bus.publish(WORK, Work(id=id), key=str(id))
    except PublishError as error:
        raise HTTPException(503, type(error).__name__) from error
    return {"partition": receipt.partition, "offset": receipt.offset}
