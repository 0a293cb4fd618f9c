"""A service of orders, and its tests: one whole file to begin from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Annotated

import httpx
import pytest
import pytest_asyncio
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from convex_messaging_fastapi import (
    Bus,
    ConvexMessage,
    Delivery,
    MessageBus,
    MessagingRouter,
    Retry,
    TestBench,
)

# -- the service ---------------------------------------------------------------------------


class OrderPlaced(ConvexMessage):
    order_id: int
    amount: Decimal


class CardDeclined(Exception):
    """The bank said no."""


class Bank:
    async def charge(self, amount: Decimal, reference: str) -> None:
        raise NotImplementedError("would ask the real bank")


def get_bank() -> Bank:
    return Bank()


bus = MessageBus()
app = FastAPI()
app.include_router(MessagingRouter(bus))


@bus.subscriber("order.placed", retry=Retry(attempts=3, delay_seconds=60))
async def take_payment(
    event: OrderPlaced, delivery: Delivery, bank: Annotated[Bank, Depends(get_bank)]
) -> None:
    await bank.charge(event.amount, f"order {event.order_id}, attempt {delivery.attempt}")


class NewOrder(BaseModel):
    order_id: int
    amount: Decimal


@app.post("/orders", status_code=201)
async def place_order(order: NewOrder, bus: Bus) -> None:
    event = OrderPlaced(order_id=order.order_id, amount=order.amount)
    await bus.publish("order.placed", event, key=str(order.order_id))


# -- its tests -----------------------------------------------------------------------------

pytestmark = pytest.mark.asyncio  # not needed where pytest has asyncio_mode = "auto"


class FakeBank(Bank):
    def __init__(self) -> None:
        self.charged: list[str] = []
        self.declines = 0

    async def charge(self, amount: Decimal, reference: str) -> None:
        if self.declines:
            self.declines -= 1
            raise CardDeclined(reference)
        self.charged.append(reference)


@pytest.fixture
def bank() -> Iterator[FakeBank]:
    """In handlers and routes alike."""
    fake = FakeBank()
    app.dependency_overrides[get_bank] = lambda: fake
    yield fake
    app.dependency_overrides.clear()


@pytest_asyncio.fixture
async def t(bank: FakeBank) -> AsyncIterator[TestBench]:
    """An in-process broker, and a clock that stands still: no Kafka, no waiting."""
    async with bus.test(app) as t:
        yield t


@pytest_asyncio.fixture
async def client(t: TestBench) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_an_order_is_paid(t: TestBench, client: httpx.AsyncClient, bank: FakeBank) -> None:
    response = await client.post("/orders", json={"order_id": 1, "amount": "9.90"})
    await t.settle()  # until everything is handled, retried, buried: a minute's back-off takes no time

    assert response.status_code == 201
    assert bank.charged == ["order 1, attempt 1"]
    assert t.handled(take_payment) == [OrderPlaced(order_id=1, amount=Decimal("9.90"))]
    assert t.published("order.placed") == [{"OrderId": 1, "Amount": 9.9}]
    assert t.records("order.placed")[0].key == b"1"


async def test_a_bank_that_declines_once_is_asked_again(
    t: TestBench, client: httpx.AsyncClient, bank: FakeBank
) -> None:
    bank.declines = 1
    await client.post("/orders", json={"order_id": 2, "amount": "9.90"})
    await t.settle()

    assert bank.charged == ["order 2, attempt 2"]
    assert len(t.handled(take_payment)) == 1  # attempts that failed do not count


async def test_an_order_that_cannot_be_paid_is_a_dead_letter(
    t: TestBench, client: httpx.AsyncClient, bank: FakeBank
) -> None:
    bank.declines = 3
    await client.post("/orders", json={"order_id": 3, "amount": "9.90"})
    await t.settle()

    assert t.handled(take_payment) == []
    (letter,) = t.dead_letters()
    assert letter.original_topic == "convex.order.placed"
    assert letter.error_message == "order 3, attempt 3"


async def test_the_handler_alone(bank: FakeBank) -> None:
    """It is an ordinary function still."""
    await take_payment(OrderPlaced(order_id=4, amount=Decimal(5)), Delivery.for_test(attempt=2), bank)

    assert bank.charged == ["order 4, attempt 2"]
