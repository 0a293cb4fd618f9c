"""Your own log lines tell which message or request they are about, in whatever way they are written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from convex_messaging_fastapi import (
    Batch,
    CorrelationFilter,
    CorrelationMiddleware,
    Delivery,
    MessagingRouter,
    Reject,
)
from convex_messaging_fastapi.logs import NAMES
from tests.bus.support import Bet, memory_bus

log = logging.getLogger("shop.payments")
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Kept(logging.Handler):
    """Keeps what the lines told by the filter."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(CorrelationFilter())
        self.lines: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record)

    def told(self, message: str) -> dict[str, object]:
        (line,) = [line for line in self.lines if line.getMessage() == message]
        return {name: getattr(line, name) for name in NAMES if getattr(line, name) is not None}


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


async def test_a_line_in_a_handler_tells_its_message(kept: Kept) -> None:
    bus = memory_bus()

    @bus.subscriber("bet", id="pay")
    async def pay(bet: Bet, delivery: Delivery) -> None:
        log.info("pays")
        await asyncio.create_task(beside())

    @bus.subscriber("bet", id="in a thread", group="threads")
    def in_a_thread(bet: Bet) -> None:
        log.info("in a thread")

    @bus.subscriber("bet", id="several", group="batches", batch=Batch(max_records=2, max_wait_seconds=1))
    async def several(bets: list[Bet]) -> None:
        log.info("several")

    async def beside() -> None:
        log.info("beside", extra={"topic": "mine"})

    async with bus.test() as t:
        headers = {"message-id": "m-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        receipt = await bus.publish("bet", Bet(bet_id=1), headers=headers, correlation_id="c-1")
        await t.settle()
    of_the_message = {
        "topic": "convex.bet",
        "partition": receipt.partition,
        "offset": receipt.offset,
        "message_id": "m-1",
        "correlation_id": "c-1",
        "trace_id": TRACE,
    }
    assert kept.told("pays") == of_the_message | {"group": "bets", "handler": "pay"}
    assert kept.told("in a thread") == of_the_message | {"group": "threads", "handler": "in a thread"}
    assert kept.told("several") == of_the_message | {"group": "batches", "handler": "several"}
    assert kept.told("beside") == of_the_message | {"group": "bets", "handler": "pay", "topic": "mine"}


async def test_a_line_in_a_request_tells_its_id_and_one_elsewhere_nothing(kept: Kept) -> None:
    bus = memory_bus()
    app = FastAPI()
    app.include_router(MessagingRouter(bus))
    app.add_middleware(CorrelationMiddleware)

    @app.get("/")
    async def route() -> None:
        log.info("in a request")

    transport = httpx.ASGITransport(app)
    async with bus.test(app), httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
        await http.get("/", headers={"X-Request-ID": "request-17"})
        log.info("elsewhere")
    assert kept.told("in a request") == {"correlation_id": "request-17"}
    assert kept.told("elsewhere") == {}


async def test_what_our_own_lines_tell_is_kept(kept: Kept) -> None:
    bus = memory_bus()

    @bus.subscriber("bet", id="pay")
    async def pay(bet: Bet) -> None:
        raise Reject("no")

    async with bus.test() as t:
        await bus.publish("bet", Bet(bet_id=1), headers={"message-id": "m-1"})
        await t.settle()
    (line,) = [line for line in kept.lines if line.levelno == logging.ERROR]
    told = kept.told(line.getMessage())
    assert (told["handler"], told["attempt"], told["message_id"]) == ("pay", 1, "m-1")
    assert told["exception_type"] == "convex_messaging_fastapi.errors.Reject"


def test_every_line_has_every_name_so_that_a_format_may_ask_for_it(kept: Kept) -> None:
    log.info("anything")
    formatter = logging.Formatter(" ".join(f"%({name})s" for name in NAMES))
    assert formatter.format(kept.lines[-1]) == " ".join(["None"] * len(NAMES))
