"""Settings that decide what a bus takes in, how it handles it, and when it commits."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from convex_messaging_fastapi import ConvexMessage, MessageBus, MessagingSettings, Retry
from convex_messaging_fastapi.records import OutgoingRecord, TopicPartition
from convex_messaging_fastapi.testing import TestBench
from convex_messaging_fastapi.transport.base import NewTopic


class Bet(ConvexMessage):
    bet_id: int


def bus_with(**choices: Any) -> MessageBus:
    usual: dict[str, Any] = {"bootstrap_servers": "memory://", "consumer_group": "bets"}
    return MessageBus(MessagingSettings(**(usual | choices)))


def one_partition(t: TestBench, topic: str = "convex.bet.placed") -> TopicPartition:
    t.broker.ensure(NewTopic(topic, partitions=1))
    return TopicPartition(topic, 0)


def committed(t: TestBench, where: TopicPartition) -> int:
    return t.broker.committed("bets")[where].offset


async def publish(bus: MessageBus, count: int) -> None:
    await bus.publish_many("bet.placed", [Bet(bet_id=n) for n in range(count)], key="ada")


async def test_topic_prefix_stands_before_every_topic_and_the_dead_letters() -> None:
    bus = bus_with(topic_prefix="acme", max_retry_attempts=1)

    async with bus.test() as t:
        await bus.subscribe("bet.placed", fail)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()
        assert len(t.broker.records("acme.bet.placed")) == 1
        assert len(t.broker.records("acme.dlq")) == 1


async def test_consumer_group_is_the_name_under_which_offsets_are_committed() -> None:
    bus = bus_with(consumer_group="settlement")

    async with bus.test() as t:
        await bus.subscribe("bet.placed", ignore)
        await publish(bus, 3)
        await t.advance(6)
        assert max(position.offset for position in t.broker.committed("settlement").values()) == 3


@pytest.mark.parametrize(("reset", "expected"), [("earliest", [1, 2]), ("latest", [2])])
async def test_auto_offset_reset_is_where_a_new_group_begins(reset: str, expected: list[int]) -> None:
    bus = bus_with(auto_offset_reset=reset)
    heard: list[int] = []

    async def hear(bet: Bet) -> None:
        heard.append(bet.bet_id)

    async with bus.test() as t:
        await bus.publish("bet.placed", Bet(bet_id=1))
        await bus.subscribe("bet.placed", hear)
        await t.settle()
        await bus.publish("bet.placed", Bet(bet_id=2))
        await t.settle()
    assert heard == expected


@pytest.mark.parametrize("seconds", [1, 60])
async def test_auto_commit_interval_ms_is_how_long_finished_work_waits_to_be_committed(seconds: int) -> None:
    bus = bus_with(auto_commit_interval_ms=seconds * 1000)

    async with bus.test() as t:
        where = one_partition(t)
        await bus.subscribe("bet.placed", ignore)
        await t.advance(0)
        await publish(bus, 3)
        await t.advance(seconds * 0.9)
        assert committed(t, where) == 0
        await t.advance(seconds * 0.2)
        assert committed(t, where) == 3


async def test_enable_auto_commit_false_commits_as_soon_as_work_is_finished() -> None:
    bus = bus_with(enable_auto_commit=False, auto_commit_interval_ms=3_600_000)

    async with bus.test() as t:
        where = one_partition(t)
        await bus.subscribe("bet.placed", ignore)
        await publish(bus, 3)
        await t.advance(0)
        assert committed(t, where) == 3


async def test_max_uncommitted_half_finished_is_committed_before_the_interval() -> None:
    bus = bus_with(auto_commit_interval_ms=3_600_000, max_uncommitted=10)

    async with bus.test() as t:
        where = one_partition(t)
        await bus.subscribe("bet.placed", ignore)
        await publish(bus, 4)
        await t.advance(0)
        assert committed(t, where) == 0
        await publish(bus, 1)
        await t.advance(0)
        assert committed(t, where) == 5


async def test_max_uncommitted_is_how_far_a_partition_is_handed_out_past_what_stands_still() -> None:
    bus = bus_with(max_uncommitted=7)
    began: list[int] = []
    gate = asyncio.Event()

    async def stand_still(bet: Bet) -> None:
        began.append(bet.bet_id)
        if bet.bet_id == 0:
            await gate.wait()

    async with bus.test() as t:
        one_partition(t)
        await bus.subscribe("bet.placed", stand_still, ordering="none")
        await publish(bus, 20)
        await t.advance(30)
        assert sorted(began) == list(range(7))
        gate.set()
        await t.settle()
        assert sorted(began) == list(range(20))


@pytest.mark.parametrize("attempts", [1, 4])
async def test_max_retry_attempts_is_the_number_of_tries_before_the_burial(attempts: int) -> None:
    bus = bus_with(max_retry_attempts=attempts)
    tries: list[int] = []

    async def count(bet: Bet) -> None:
        tries.append(bet.bet_id)
        raise LookupError("not there")

    async with bus.test() as t:
        await bus.subscribe("bet.placed", count)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()
        assert len(tries) == attempts
        assert [letter.attempts for letter in t.dead_letters()] == [attempts]


async def test_breaker_and_its_numbers_are_those_of_every_subscriber_that_says_nothing_of_it() -> None:
    bus = bus_with(breaker=True, breaker_share=0.5, breaker_of=4, breaker_wait_seconds=7)
    at: list[float] = []
    async with bus.test() as t:

        async def note(bet: Bet) -> None:
            at.append(t.clock.now())
            raise LookupError("not there")

        async def without(bet: Bet) -> None:
            raise LookupError("not there")

        await bus.subscribe("bet.placed", note, retry=Retry(attempts=1), concurrency=1)
        await bus.subscribe("bet.lost", without, breaker=False, retry=Retry(attempts=1))
        for n in range(4):
            await bus.publish("bet.placed", Bet(bet_id=n), key=str(n))
            await bus.publish("bet.lost", Bet(bet_id=n), key=str(n))
        await t.advance(30)
        assert at == [0, 0, 0, 7, 21]
        # With one try a message the first two are given up before a third can tell that it is an outage.
        given_up = Counter(letter.original_topic for letter in t.dead_letters())
        assert given_up == {"convex.bet.lost": 4, "convex.bet.placed": 2}


@pytest.mark.parametrize(("share", "opens"), [(0.5, True), (0.6, False)])
async def test_breaker_share_is_of_the_latest_breaker_of_messages(share: float, opens: bool) -> None:
    bus = bus_with(breaker=True, breaker_share=share, breaker_of=6, retry_delay_seconds=0)
    async with bus.test() as t:

        async def half(bet: Bet) -> None:
            if bet.bet_id % 2:
                raise LookupError("not there")

        await bus.subscribe("bet.placed", half, retry=Retry(attempts=1), concurrency=1)
        for n in range(6):
            await bus.publish("bet.placed", Bet(bet_id=n), key=str(n))
            await t.advance(0)
        assert len(t.dead_letters()) == (2 if opens else 3)


async def test_retry_delay_seconds_is_the_first_wait_and_doubles() -> None:
    """Less a fifth, at most, by the jitter."""
    bus = bus_with(retry_delay_seconds=100, max_retry_attempts=3)
    at: list[float] = []

    async with bus.test() as t:

        async def note(bet: Bet) -> None:
            at.append(t.clock.now())
            raise LookupError("not there")

        await bus.subscribe("bet.placed", note)
        await bus.publish("bet.placed", Bet(bet_id=1))
        await t.settle()
    first, second = at[1] - at[0], at[2] - at[1]
    assert 80 <= first <= 101
    assert 160 <= second <= 201


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_concurrency_is_how_many_messages_a_subscription_handles_at_once(concurrency: int) -> None:
    bus = bus_with(concurrency=concurrency)
    running: Counter[str] = Counter()
    gate = asyncio.Event()

    async def work(bet: Bet) -> None:
        running["now"] += 1
        await gate.wait()
        running["now"] -= 1

    async with bus.test() as t:
        await bus.subscribe("bet.placed", work)
        for n in range(10):
            await bus.publish("bet.placed", Bet(bet_id=n), key=f"k{n}")
        await t.advance(1)
        assert running["now"] == concurrency
        gate.set()
        await t.settle()


async def test_max_buffer_records_is_how_many_a_worker_holds_in_memory() -> None:
    bus = bus_with(max_buffer_records=9, concurrency=1)
    gate = asyncio.Event()

    async def wait(bet: Bet) -> None:
        await gate.wait()

    async with bus.test() as t:
        await bus.subscribe("bet.placed", wait)
        for n in range(100):
            await bus.publish("bet.placed", Bet(bet_id=n), key=f"k{n}")
        await t.advance(5)
        assert bus.status().workers[0].buffered_records == 9
        gate.set()
        await t.settle()


@pytest.mark.parametrize(("limit", "records"), [(65_536, 13), (3 * 1024 * 1024, 31), (64 * 1024 * 1024, 40)])
async def test_max_buffer_bytes_is_how_many_bytes_a_worker_holds_in_memory(limit: int, records: int) -> None:
    """A fetch may bring a mebibyte of a partition: of more partitions than may bring so much one record."""
    bus = bus_with(max_buffer_bytes=limit, concurrency=1)
    gate = asyncio.Event()

    async def wait(raw: bytes) -> None:
        await gate.wait()

    async with bus.test() as t:
        t.broker.ensure(NewTopic("convex.bet.placed", partitions=4))
        for partition in range(4):
            value = OutgoingRecord(None, b"x" * 100_000)
            t.broker.append(TopicPartition("convex.bet.placed", partition), [value] * 10)
        await bus.subscribe("bet.placed", wait)
        await t.advance(5)
        assert bus.status().workers[0].buffered_bytes == records * 100_000
        gate.set()
        await t.settle()


@pytest.mark.parametrize(
    ("template", "group"), [("{prefix}.{queue}", "convex.payments"), ("billing-service", "billing-service")]
)
async def test_queue_group_is_the_group_that_receivers_share(template: str, group: str) -> None:
    bus = bus_with(queue_group=template)

    async with bus.test() as t:
        await bus.receive("payments", ignore)
        await bus.send("payments", Bet(bet_id=1))
        await t.advance(6)
        assert sum(position.offset for position in t.broker.committed(group).values()) == 1


async def ignore(bet: Bet) -> None:
    """Finishes every message."""


async def fail(bet: Bet) -> None:
    raise LookupError("not there")
