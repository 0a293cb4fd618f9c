"""Uses of the public API as services write them. Never run: type checkers read it.

What stands above a `type: ignore` is a mistake that they must report.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI
from pydantic_settings import SettingsConfigDict
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from typing_extensions import TypedDict

from convex_messaging_fastapi import (
    Batch,
    BatchFailed,
    Breaker,
    Bus,
    ConvexMessage,
    Delivery,
    Discard,
    MessageBus,
    MessagingRouter,
    MessagingSettings,
    PublishFailed,
    PublishManyError,
    PublishUnknown,
    Receipt,
    Record,
    Reject,
    Retry,
    RetryAfter,
    Subscribers,
    TestBench,
    get_bus,
    of_type,
)


class UserCreated(ConvexMessage):
    user_id: int
    email: str
    created_at: datetime


class OrderShipped(ConvexMessage, message_type="Shop.OrderShipped", reads=("Shipped",)):
    order_id: int


@dataclass
class BetPlaced:
    amount: Decimal


class Payment(TypedDict):
    id: str


bus = MessageBus()
configured = MessageBus(MessagingSettings(bootstrap_servers="memory://", max_retry_attempts=5))
audited = MessagingSettings(_env_prefix="AUDIT_KAFKA_", _env_file=(".env", Path(".env.audit")), concurrency=7)
secretive = MessagingSettings(_env_file=None, _env_file_encoding="latin-1", _secrets_dir="/run/secrets")
MessagingSettings(_env_ignore_empty=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class AuditSettings(MessagingSettings):
    model_config = SettingsConfigDict(env_prefix="AUDIT_KAFKA_")


assert_type(AuditSettings(consumer_group="audit").consumer_group, str)
app = FastAPI()
app.include_router(MessagingRouter(bus))
plain = Starlette(lifespan=bus.lifespan)


# -- handlers keep their types ---------------------------------------------------------------------


@bus.subscriber("orders")
async def follow(event: UserCreated | OrderShipped | None) -> None: ...


@bus.subscriber("user.created", "user.updated", group="mail", concurrency=8, ordering="key")
async def send_welcome(event: UserCreated, delivery: Delivery) -> int:
    assert_type(delivery.topic, str)
    assert_type(delivery.partition, int)
    assert_type(delivery.offset, int)
    assert_type(delivery.key, bytes | None)
    assert_type(delivery.headers["x"], str)
    assert_type(delivery.timestamp, datetime)
    assert_type(delivery.attempt, int)
    assert_type(delivery.correlation_id, str | None)
    assert_type(delivery.revoked, bool)
    return event.user_id


@bus.receiver("payments", retry=Retry(attempts=None, never=(ValueError,)), dead_letter="hold", timeout=5)
def pay(command: Payment) -> None:
    if command["id"] == "":
        raise Reject("no id")
    if command["id"] == "old":
        raise Discard
    raise RetryAfter(30, "the bank is closed")


@bus.subscriber("bet.placed", batch=Batch(max_records=50, max_wait_seconds=0.5))
async def count(bets: list[BetPlaced], deliveries: list[Delivery]) -> None:
    raise BatchFailed(1)


def is_first(delivery: Delivery) -> bool:
    return delivery.attempt == 1


@bus.subscriber("orders", filter=of_type(UserCreated, BetPlaced), id="orders", concurrency=None, timeout=None)
async def settle(event: UserCreated | BetPlaced) -> None: ...


@bus.receiver("refunds", filter=is_first, group="refunds", batch=None, retry=None, breaker=False)
async def refund(command: Payment) -> None: ...


same_settle: Callable[[UserCreated | BetPlaced], Coroutine[Any, Any, None]] = settle
same_welcome: Callable[[UserCreated, Delivery], Coroutine[Any, Any, int]] = send_welcome
same_pay: Callable[[Payment], None] = pay


# -- dependencies ----------------------------------------------------------------------------------


async def pool(conn: HTTPConnection) -> AsyncIterator[str]:
    yield conn.app.state.pool


subscribers = Subscribers()


@subscribers.subscriber("user.created")
async def store(
    event: UserCreated,
    pool: Annotated[str, Depends(pool)],
    bus: Bus,
    same: Annotated[MessageBus, Depends(get_bus)],
) -> None:
    await bus.publish("user.stored", event)


@subscribers.receiver("notifications")
async def notify(raw: bytes) -> None: ...


bus.include(subscribers)


# -- the router ------------------------------------------------------------------------------------


@asynccontextmanager
async def opening(app: FastAPI) -> AsyncGenerator[dict[str, str], None]:
    yield {"pool": "the pool"}


def with_a_password(request: Request) -> bool:
    return request.headers.get("authorization") == "Bearer 1234"


app.include_router(MessagingRouter(bus, readiness="http", details=with_a_password))
app.include_router(
    MessagingRouter(
        configured,
        health_prefix="/health/audit",
        details=[Depends(pool)],
        include_in_schema=True,
        lifespan=opening,
    )
)


@app.get("/audit")
async def audit(bus: Annotated[MessageBus, Depends(configured.get)]) -> None:
    assert_type(await get_bus(HTTPConnection({"type": "http"})), MessageBus)
    assert_type(await configured.get(), MessageBus)


# -- publishing ------------------------------------------------------------------------------------


@app.post("/users")
async def create_user(event: UserCreated, bus: Bus) -> int:
    receipt = await bus.publish(
        "user.created", event, key=str(event.user_id), headers={"a": "b"}, timeout=2.5
    )
    assert_type(receipt, Receipt)
    assert_type(receipt.offset, int)
    assert_type(receipt.timestamp, datetime)
    return receipt.offset


async def publish_in_every_way(event: UserCreated) -> None:
    try:
        await bus.publish("user.created", {"any": "json"}, key=b"raw", correlation_id="request-1")
    except (PublishFailed, PublishUnknown) as error:
        assert_type(error.may_retry, bool)
    try:
        receipts = await bus.publish_many("user.created", [event, event], key=lambda e: e.email)
        assert_type(receipts, list[Receipt])
    except PublishManyError as error:
        assert_type(error.unknown[0], PublishUnknown)
    assert_type(bus.publish_sync("user.created", event), Receipt)
    assert_type(await bus.send("payments", Payment(id="1")), Receipt)
    assert_type(await bus.tombstone("user.created", key="1"), Receipt)


# -- at run time -----------------------------------------------------------------------------------


async def change_at_run_time() -> None:
    async with bus as running:
        assert_type(running, MessageBus)
        id = await bus.subscribe("user.created", send_welcome, group="late")
        assert_type(id, str)
        assert_type(await bus.unsubscribe(id), bool)
        assert_type(await bus.receive("payments", pay), str)
        assert_type(
            await bus.subscribe(
                "bet.placed",
                count,
                group="late",
                id="late",
                concurrency=2,
                ordering="partition",
                retry=Retry(attempts=1),
                dead_letter="discard",
                timeout=1.5,
                batch=Batch(10),
                filter=is_first,
                breaker=Breaker(of=10),
            ),
            str,
        )
        for worker in bus.status().workers:
            assert_type(worker.group, str)


async def test_a_service() -> None:
    async with bus.test() as t:
        await bus.publish("user.created", {"UserId": 1})
        await t.settle()
        assert_type(t.published("user.created"), list[Any])
        assert t.dead_letters()[0].original_topic == "user.created"
        assert_type(t, TestBench)
        assert_type(t.records("user.created"), list[Record])
        assert_type(t.handled(send_welcome), list[Any])
        assert t.handled(pay) == t.handled("the id of a subscription")
        t.handled(7)  # type: ignore[arg-type]


async def test_a_handler_alone(event: UserCreated) -> None:
    assert await send_welcome(event, Delivery.for_test("convex.user.created", key="7", attempt=2))
    Delivery.for_test(attempts=2)  # type: ignore[call-arg]


# -- mistakes --------------------------------------------------------------------------------------


async def mistakes(event: UserCreated) -> None:
    MessageBus("localhost:9092")  # type: ignore[arg-type]
    MessagingRouter("localhost:9092")  # type: ignore[arg-type]
    MessagingRouter(bus, prefix="/health")  # type: ignore[arg-type]
    MessagingRouter(bus, details="admin")  # type: ignore[arg-type]
    app.include_router(bus)  # type: ignore[arg-type]
    _ = bus.brokers  # type: ignore[attr-defined]
    _ = MessagingRouter(bus).subscriber  # type: ignore[attr-defined]
    _ = get_bus(HTTPConnection({})).publish  # type: ignore[attr-defined]
    await bus.publish("user.created", event, key=5)  # type: ignore[arg-type]
    await bus.publish(event)  # type: ignore[call-arg, arg-type]
    await bus.tombstone("user.created")  # type: ignore[call-arg]
    bus.subscriber("user.created", ordering="topic")  # type: ignore[arg-type]
    bus.subscriber("user.created", grup="mail")  # type: ignore[call-arg]
    bus.subscriber("user.created", ids="mine")  # type: ignore[call-arg]
    bus.subscriber("user.created", concurency=2)  # type: ignore[call-arg]
    bus.subscriber("user.created", odering="key")  # type: ignore[call-arg]
    bus.receiver("payments", retires=Retry())  # type: ignore[call-arg]
    bus.receiver("payments", dead_leter="bury")  # type: ignore[call-arg]
    subscribers.subscriber("user.created", time_out=5)  # type: ignore[call-arg]
    subscribers.receiver("payments", bacth=Batch())  # type: ignore[call-arg]
    await bus.subscribe("user.created", send_welcome, filters=is_first)  # type: ignore[call-arg]
    await bus.receive("payments", pay, group_id="late")  # type: ignore[call-arg]
    bus.subscriber("user.created", group=5)  # type: ignore[arg-type]
    bus.subscriber("user.created", timeout="5s")  # type: ignore[arg-type]
    bus.subscriber("user.created", concurrency="3")  # type: ignore[arg-type]
    bus.subscriber("user.created", retry=3)  # type: ignore[arg-type]
    bus.subscriber("user.created", batch=True)  # type: ignore[arg-type]
    bus.subscriber("user.created", dead_letter="dlq")  # type: ignore[arg-type]
    bus.subscriber("user.created", filter=lambda: True)  # type: ignore[arg-type,misc]
    await bus.subscribe("user.created")  # type: ignore[call-arg]
    subscribed: Callable[[int], None]
    subscribed = send_welcome  # type: ignore[assignment]
    subscribed(5)
