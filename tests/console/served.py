"""An app with a console for tests that need processes: its handlers fail until they are told to go on."""

from __future__ import annotations

from fastapi import Depends, FastAPI

from convex_messaging_fastapi import Bus, ConvexMessage, MessageBus, MessagingRouter, Reject
from convex_messaging_fastapi.console import messaging_console
from tests.console.support import PREFIX, may_read, may_write, operator


class Transfer(ConvexMessage):
    number: int


bus = MessageBus()
mended = False


@bus.subscriber("cards", id="card")
async def card(transfer: Transfer) -> None:
    if not mended:
        raise Reject("no such card")


@bus.subscriber("banks", id="bank")
async def bank(transfer: Transfer) -> None:
    raise Reject("the bank says no")


app = FastAPI()
app.include_router(MessagingRouter(bus))
console = messaging_console(
    bus, dependencies=[Depends(may_read)], writes=[Depends(may_write)], operator=operator
)
app.include_router(console, prefix=PREFIX)


@app.post("/publish/{topic}/{count}")
async def publish(topic: str, count: int, bus: Bus) -> int:
    transfers = [Transfer(number=number) for number in range(count)]
    return len(await bus.publish_many(topic, transfers, key=lambda each: str(each.number)))


@app.post("/mend")
async def mend() -> None:
    global mended
    mended = True
