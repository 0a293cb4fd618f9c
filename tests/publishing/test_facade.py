"""One facade before everything that publishes: names, records and deadlines are made in one place."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

import pytest

from convex_messaging_fastapi import ConfigurationError, EncodeError, MessageBus, MessagingSettings
from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.naming import Naming
from convex_messaging_fastapi.publishing import Partitioner, Publisher, Publishing, PublishLimits
from convex_messaging_fastapi.receipts import Receipt
from convex_messaging_fastapi.records import OutgoingRecord, header_text, utc
from tests.bus.support import memory_bus
from tests.publishing.fakes import FakeProducer, until


class Noted(Publisher):
    """Notes what it is asked to write, and for how long, and that it is a letter."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(FakeProducer(), clock, Partitioner(), PublishLimits(message_bytes=1))
        self.asked: list[tuple[str, bytes | None, float, bool]] = []

    async def publish(
        self,
        topic: str,
        record: OutgoingRecord,
        timeout: float,
        partition: int | None = None,
        *,
        is_limited: bool = True,
    ) -> Receipt:
        self.asked.append((topic, record.value, timeout, is_limited))
        return Receipt(topic, 0, 0, utc(0))


@pytest.fixture
def noted(clock: ManualClock) -> Noted:
    return Noted(clock)


@pytest.fixture
def publishing(noted: Noted, clock: ManualClock) -> Publishing:
    return Publishing(noted, Naming(MessagingSettings(topic_prefix="eu")), clock, default_timeout=7)


async def test_a_record_is_put_together_without_a_start(publishing: Publishing, clock: ManualClock) -> None:
    topic, record = publishing.record("bet.placed", {"bet": 1}, "bet-1", {"tenant": "eu"}, "c-1")

    assert topic == "eu.bet.placed"
    assert (record.key, record.value) == (b"bet-1", b'{"bet":1}')
    told = {name: header_text(record.headers, name) for name in ("tenant", "correlation-id", "timestamp")}
    assert told == {"tenant": "eu", "correlation-id": "c-1", "timestamp": str(int(clock.unix()))}
    assert header_text(record.headers, "message-id")


@pytest.mark.parametrize(
    ("topic", "message", "error"),
    [("a topic", {}, ConfigurationError), ("bet.placed", None, EncodeError), ("a topic", None, EncodeError)],
)
async def test_what_cannot_be_a_record_is_refused_at_once(
    topic: str, message: Any, error: type[Exception], publishing: Publishing, noted: Noted
) -> None:
    with pytest.raises(error):
        publishing.record(topic, message)
    with pytest.raises(error):  # before there is anything to await
        publishing.publish(topic, message, None, None, None, None)  # type: ignore[unused-coroutine]
    with pytest.raises(error):
        await publishing.publish_many(topic, [message], None, None, None, None)
    assert noted.asked == []


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 7), (3, 3), (0.5, 0.5)])
async def test_everything_is_written_under_its_wire_name_and_in_its_time(
    timeout: float | None, seconds: float, publishing: Publishing, noted: Noted
) -> None:
    await publishing.publish("bet.placed", {"bet": 1}, None, None, None, timeout)
    await publishing.tombstone("bet.placed", "bet-1", None, timeout)

    assert noted.asked == [
        ("eu.bet.placed", b'{"bet":1}', seconds, True),
        ("eu.bet.placed", None, seconds, True),
    ]


async def test_a_letter_goes_to_its_topic_in_the_usual_time_and_outside_the_limits_of_messages(
    publishing: Publishing, noted: Noted
) -> None:
    async with publishing.room_for_dead_letter(10):
        await publishing.dead_letter(OutgoingRecord(None, b"longer than one byte", ()))
    assert noted.asked == [("eu.dlq", b"longer than one byte", 7, False)]


@pytest.mark.parametrize("timeout", [0, -1, True, "3", float("nan")])
def test_what_is_no_time_is_refused(timeout: Any, publishing: Publishing) -> None:
    with pytest.raises(ConfigurationError):
        publishing.seconds(timeout)


async def test_a_publish_that_waits_is_two_coroutines_and_one_of_many_is_three() -> None:
    """Each of them is resumed for every message, or for every call."""
    bus = memory_bus()
    async with bus.test() as t:
        t.broker.down()
        one, many = bus.publish("placed", {}), bus.publish_many("placed", [{}, {}])
        tasks = [asyncio.ensure_future(each) for each in (one, many)]
        await until(lambda: pending(bus) == 3)
        assert names(one) == ["MessageBus.publish", "Publisher.publish"]
        assert names(many) == [
            "MessageBus.publish_many",
            "Verbs._write_many",
            "Publisher.publish_many",
        ]
        t.broker.up()
        await asyncio.gather(*tasks)


def pending(bus: MessageBus) -> int:
    producer = bus.status().producer
    assert producer is not None
    return producer.pending


def names(waiting: Coroutine[Any, Any, Any]) -> list[str]:
    found: list[str] = []
    link: Any = waiting
    while inspect.iscoroutine(link):
        found.append(link.__qualname__)
        link = link.cr_await
    return found
