"""The publisher's own life: flush, stop within a budget, and what its status says."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi.clock import ManualClock
from convex_messaging_fastapi.errors import PublishFailed, PublishUnknown
from convex_messaging_fastapi.publishing import Partitioner, Publisher
from convex_messaging_fastapi.publishing.offers import FIRST_BACK_OFF_SECONDS
from convex_messaging_fastapi.status import ContactStatus
from convex_messaging_fastapi.transport.base import Contact, Problem, Verdict
from tests.publishing.fakes import FakeProducer, record, until


async def test_stop_flushes_what_waits_before_it_closes_the_producer(
    publisher: Publisher, producer: FakeProducer
) -> None:
    producer.gate.clear()
    tasks = [asyncio.create_task(publisher.publish("t", record(n), 10)) for n in range(3)]
    await until(producer.entered.is_set)
    stopping = asyncio.create_task(publisher.stop(5))
    await until(lambda: not publisher.status().alive)
    assert producer.running
    producer.gate.set()
    await stopping
    await asyncio.gather(*tasks)
    assert not producer.running
    assert producer.stopped_with == 5


async def test_what_the_budget_does_not_suffice_for_is_told_honestly(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    producer.gate.clear()
    flying = asyncio.create_task(publisher.publish("t", record("a"), 100, partition=0))
    await until(producer.entered.is_set)
    queued = asyncio.create_task(publisher.publish("t", record("b"), 100, partition=0))
    producer.counting.clear()
    lost = asyncio.create_task(publisher.publish("other", record("c"), 100))
    await until(lambda: publisher.status().pending == 3)
    stopping = asyncio.create_task(publisher.stop(5))
    await until(lambda: clock.next_due() == 4)
    clock.advance(4)
    await stopping
    assert isinstance(flying.exception(), PublishUnknown)
    assert isinstance(queued.exception(), PublishFailed)
    assert isinstance(lost.exception(), PublishFailed)
    assert "after the next start" in str(queued.exception())
    assert not producer.sending
    assert producer.values("t") == []


async def test_stop_ends_a_back_off(publisher: Publisher, producer: FakeProducer, clock: ManualClock) -> None:
    producer.script.append(Verdict.FAILED)
    task = asyncio.create_task(publisher.publish("t", record("a"), 100))
    await until(lambda: clock.next_due() == FIRST_BACK_OFF_SECONDS)
    await publisher.stop(0)
    with pytest.raises(PublishFailed):
        await task
    assert clock.next_due() is None


async def test_a_cancelled_stop_leaves_nobody_waiting(publisher: Publisher, producer: FakeProducer) -> None:
    producer.gate.clear()
    task = asyncio.create_task(publisher.publish("t", record("a"), 100))
    await until(producer.entered.is_set)
    stopping = asyncio.create_task(publisher.stop(50))
    await until(lambda: not publisher.status().alive)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    with pytest.raises(PublishUnknown):
        await task
    # What a transport took at once is its own to end, and nobody stopped it.
    assert not producer.sending or producer.at_once


async def test_flush_says_whether_everything_is_settled(
    publisher: Publisher, producer: FakeProducer, clock: ManualClock
) -> None:
    assert await publisher.flush(1)
    producer.gate.clear()
    task = asyncio.create_task(publisher.publish("t", record("a"), 100))
    await until(producer.entered.is_set)
    first, second = (asyncio.create_task(publisher.flush(seconds)) for seconds in (1, 50))
    await until(lambda: clock.next_due() == 1)
    clock.advance(1)
    assert not await first
    producer.gate.set()
    assert await second
    await task


async def test_status_counts_outcomes_and_tells_the_contact(
    producer: FakeProducer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(producer, clock, Partitioner())
    assert publisher.status().contact.age_seconds is None
    assert not publisher.status().alive
    await publisher.start()
    await publisher.publish("t", record("a"), 10)
    producer.script.append(Verdict.REFUSED)
    with pytest.raises(PublishFailed):
        await publisher.publish("t", record("b"), 10)
    clock.advance(3)
    contact = Contact(1.0, True, Problem.BROKER_UNREACHABLE, "10.0.0.1 refused", 2)
    monkeypatch.setattr(producer, "contact", lambda: contact)
    status = publisher.status()
    assert (status.alive, status.pending, status.published, status.failed, status.unknown) == (
        True,
        0,
        1,
        1,
        0,
    )
    assert status.contact == ContactStatus(2.0, True, "broker_unreachable", "10.0.0.1 refused", 2)
    await publisher.stop(1)


async def test_it_is_dead_when_nothing_looks_after_its_engine_any_more(
    publisher: Publisher, producer: FakeProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "contact", lambda: Contact(0.0, True, Problem.ENGINE_FAILED, alive=False))
    assert not publisher.status().alive
