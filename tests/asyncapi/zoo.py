"""Messages of every kind that a document has to tell, and a bus that has them all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Field, computed_field
from typing_extensions import TypedDict

from convex_messaging_fastapi import Batch, ConvexMessage, MessageBus, MessagingSettings, Retry

T = TypeVar("T")


class Status(Enum):
    OPEN = "open"
    PAID = "paid"


class Point(NamedTuple):
    x: int
    y: int


class Address(ConvexMessage):
    street: str
    lines: list[Address] = []


class Order(ConvexMessage, message_type="OrderV2", reads=("Order",)):
    """An order."""

    order_id: Annotated[int, Field(ge=1, description="From the shop.")]
    amount: Annotated[Decimal, Field(gt=0)]
    discount: Decimal = Decimal("1.50")
    raw: bytes
    patience: timedelta
    at: datetime
    status: Status = Status.OPEN
    address: Address = Field(description="Where to.")
    point: Point
    note: str | None = None
    anything: Any = None
    prices: dict[str, Decimal] = {}


class Plain(BaseModel):
    amount: Decimal

    @computed_field
    def doubled(self) -> int:
        return 2


@dataclass
class Shipped:
    order_id: int


class Cancelled(TypedDict):
    order_id: int


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Envelope(BaseModel, Generic[T]):
    content: T
    pet: Pet | None = None


class Handle:
    """Something that pydantic does not know."""


class Odd(BaseModel, arbitrary_types_allowed=True):
    handle: Handle
    number: int


def zoo(**settings: Any) -> MessageBus:
    """A bus that listens to all of them, and publishes most."""
    given: dict[str, Any] = {"bootstrap_servers": "memory://", "consumer_group": "zoo", **settings}
    bus = MessageBus(MessagingSettings(**given))

    @bus.subscriber("orders", id="take", retry=Retry(attempts=7), timeout=2.5)
    async def take(order: Order) -> None:
        """Takes an order.

        And keeps it.
        """

    @bus.subscriber("orders", "convex.orders.late", id="count", batch=Batch(50), group="counting")
    async def count(orders: list[Order]) -> None: ...

    @bus.subscriber("moves", id="moves")
    async def moves(move: Shipped | Cancelled | dict[str, int] | None) -> None: ...

    @bus.subscriber("pets", id="pets")
    async def pets(pet: Pet) -> None: ...

    @bus.receiver("jobs", id="jobs", dead_letter="hold")
    async def jobs(job: bytes) -> None: ...

    @bus.subscriber("boxes", id="boxes")
    async def boxes(box: Envelope[int]) -> None: ...

    @bus.subscriber("anything", id="anything")
    async def anything(message) -> None: ...  # type: ignore[no-untyped-def]

    bus.publishes("orders", Order)
    bus.publishes("plain", Plain)
    bus.publishes("plain.read", Plain)
    bus.publishes("odd", Odd)
    bus.publishes("odd", Handle)
    bus.publishes("raw", bytes)
    bus.publishes("users", None)
    bus.publishes("names", list[str])
    bus.publishes("names", Annotated[str, Field(max_length=5)])
    bus.subscriber("plain.read", id="plain")(_plain)
    return bus


async def _plain(message: Plain) -> None: ...
