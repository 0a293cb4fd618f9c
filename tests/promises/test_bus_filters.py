"""Several kinds of message on one topic, each for the handlers that want it, on every transport."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from convex_messaging_fastapi import Batch, ConvexMessage, Delivery, MessageBus, Retry, of_type
from tests.promises.fleet import Fleet, Heard
from tests.support.waiting import eventually


class Shipped(ConvexMessage):
    order_id: int


class Cancelled(ConvexMessage):
    order_id: int


class Refunded(ConvexMessage):
    order_id: int


def filtered(bus: MessageBus) -> dict[str, int]:
    return {sub.id: sub.filtered for worker in bus.status().workers for sub in worker.subscriptions}


def unhandled(bus: MessageBus) -> int:
    return sum(worker.unhandled for worker in bus.status().workers)


async def publish_three_kinds(bus: MessageBus, count: int) -> None:
    for n in range(count):
        for kind in (Shipped, Cancelled, Refunded):
            await bus.publish("orders", kind(order_id=n), key=str(n))


async def test_a_handler_gets_the_kinds_that_it_wants_and_the_others_are_committed(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    await fleet.topic("orders")
    heard: Heard[tuple[str, int]] = Heard()
    bus = fleet.bus()

    @bus.subscriber("orders", id="shipped", filter=of_type(Shipped))
    async def shipped(event: Shipped) -> None:
        heard.note(("shipped", event.order_id))

    @bus.subscriber("orders", id="batches", filter=of_type(Cancelled), batch=Batch(5, 0.2))
    async def batches(events: list[Cancelled]) -> None:
        for event in events:
            heard.note(("cancelled", event.order_id))

    with caplog.at_level(logging.WARNING):
        async with bus:
            await publish_three_kinds(bus, 10)
            await heard.until(20)
            counts = {"shipped": 20, "batches": 20}
            await eventually(lambda: filtered(bus) == counts, 10, "twenty that each has passed over")
            assert unhandled(bus) == 10
    assert sorted(heard.items) == [(kind, n) for kind in ("cancelled", "shipped") for n in range(10)]
    assert await fleet.letters() == []
    assert await fleet.all_is_committed("orders")
    told = [text for record in caplog.records if "no handler of group" in (text := record.getMessage())]
    assert len(told) == 1
    assert "a Refunded" in told[0]


async def test_a_queue_and_a_subscription_at_run_time_have_filters_too(fleet: Fleet) -> None:
    await fleet.topic("payments")
    await fleet.topic("orders")
    heard: Heard[tuple[str, int]] = Heard()
    bus = fleet.bus()

    def heard_as(name: str) -> Callable[[Any], Any]:
        async def handle(event: dict[str, Any]) -> None:
            heard.note((name, event["OrderId"]))

        return handle

    bus.receiver("payments", id="queue", filter=of_type(Refunded))(heard_as("queue"))
    async with bus:
        await bus.subscribe("orders", heard_as("late"), id="late", filter=of_type(Cancelled))
        await publish_three_kinds(bus, 5)
        for n in range(5):
            await bus.send("payments", Refunded(order_id=n))
            await bus.send("payments", Shipped(order_id=n))
        await heard.until(10)
        wanted: Mapping[str, int] = {"queue": 5, "late": 10}
        await eventually(lambda: filtered(bus) == wanted, 10, "what each has passed over")
    assert sorted(heard.items) == [(name, n) for name in ("late", "queue") for n in range(5)]
    assert await fleet.all_is_committed("orders")
    assert await fleet.all_is_committed("payments", f"{fleet.prefix}.payments")


async def test_what_cannot_be_read_or_is_too_large_is_passed_over_unread(fleet: Fleet) -> None:
    await fleet.topic("orders", partitions=1)
    heard: Heard[int] = Heard()
    bus = fleet.bus(max_message_bytes=1024)

    @bus.subscriber("orders", id="shipped", filter=of_type(Shipped))
    async def shipped(event: Shipped) -> None:
        heard.note(event.order_id)

    foreign = (("message-type", b"Cancelled"),)
    await fleet.write("orders", b"no JSON at all", headers=foreign)
    await fleet.write("orders", b"[" * 50_000, headers=foreign)
    await fleet.write("orders", None, headers=foreign)
    await fleet.write("orders", b"no JSON, and nobody said what it is")
    async with bus:
        await bus.publish("orders", Shipped(order_id=7))
        await heard.until(1)
        assert filtered(bus) == {"shipped": 3}
    assert [letter.original_offset for letter in await fleet.letters()] == [3]
    assert await fleet.all_is_committed("orders")


async def test_a_filter_that_raises_fails_an_attempt_and_then_its_message(fleet: Fleet) -> None:
    await fleet.topic("orders", partitions=1)
    heard: Heard[int] = Heard()
    asked: list[tuple[int, int]] = []
    bus = fleet.bus()

    def wants(delivery: Delivery) -> bool:
        asked.append((delivery.offset, delivery.attempt))
        if delivery.offset == 0 or (delivery.offset == 1 and delivery.attempt == 1):
            raise KeyError("no such header")
        return True

    @bus.subscriber("orders", filter=wants, retry=Retry(attempts=2, delay_seconds=0.05))
    async def handle(event: Shipped) -> None:
        heard.note(event.order_id)

    async with bus:
        for n in range(3):
            await bus.publish("orders", Shipped(order_id=n), key=str(n))
        await heard.until(2)
        await eventually(lambda: len(asked) == 5, 10, "both tries of both that failed")
    assert sorted(heard.items) == [1, 2]
    assert sorted(asked) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]
    [letter] = await fleet.letters()
    assert (letter.original_offset, letter.attempts, letter.exception_type) == (0, 2, "KeyError")
    assert await fleet.all_is_committed("orders")
