"""What the committed offsets say while messages are handled out of order, and what is repeated."""

from __future__ import annotations

import asyncio
from typing import Any

from convex_messaging_fastapi.records import TopicPartition
from tests.bus.support import Bet, memory_bus


async def test_no_commit_passes_a_message_that_is_still_being_handled() -> None:
    bus = memory_bus(concurrency=8)
    gate = asyncio.Event()

    @bus.subscriber("bet.placed", ordering="none")
    async def handle(bet: Bet) -> None:
        if bet.bet_id == 3:
            await gate.wait()

    async with bus.test() as t:
        receipts = await bus.publish_many("bet.placed", [Bet(bet_id=n) for n in range(10)], key="ada")
        where = TopicPartition(receipts[0].topic, receipts[0].partition)
        await t.advance(60)
        assert t.broker.committed("bets")[where].offset == 3

        gate.set()
        await t.advance(6)
        assert t.broker.committed("bets")[where].offset == 10


async def test_what_was_finished_above_the_committed_offset_is_not_repeated_by_the_next_owner() -> None:
    """Promise 2: the finished ranges travel in the commit's metadata."""
    broker = "memory://next-owner"
    quick: dict[str, Any] = {"drain_timeout_seconds": 0.1, "shutdown_timeout_seconds": 2}
    handled: list[int] = []
    all_but_one, missing_one = asyncio.Event(), asyncio.Event()

    async def stuck_at_three(bet: Bet) -> None:
        if bet.bet_id == 3:
            await asyncio.Event().wait()
        handled.append(bet.bet_id)
        if len(handled) == 9:
            all_but_one.set()

    async def handle(bet: Bet) -> None:
        handled.append(bet.bet_id)
        missing_one.set()

    first, second = (memory_bus(bootstrap_servers=broker, **quick) for _ in range(2))
    keeper = memory_bus(bootstrap_servers=broker, consumer_group="keeps-the-broker")
    first.subscriber("bet.placed", ordering="none")(stuck_at_three)
    second.subscriber("bet.placed", ordering="none")(handle)
    async with keeper:
        async with first:
            await first.publish_many("bet.placed", [Bet(bet_id=n) for n in range(10)], key="ada")
            await asyncio.wait_for(all_but_one.wait(), 10)
        async with second:
            await asyncio.wait_for(missing_one.wait(), 10)

    assert sorted(handled) == list(range(10)), "each once, although 4 to 9 were above the committed offset"


async def test_commits_go_on_when_the_span_ends_amid_what_an_earlier_owner_finished() -> None:
    broker = "memory://amid-a-range"
    handled: list[int] = []
    nine, all_of_them = asyncio.Event(), asyncio.Event()

    async def stuck_at_three(bet: Bet) -> None:
        if bet.bet_id == 3:
            await asyncio.Event().wait()
        handled.append(bet.bet_id)
        if len(handled) == 9:
            nine.set()

    async def handle(bet: Bet) -> None:
        handled.append(bet.bet_id)
        if len(handled) == 20:
            all_of_them.set()

    first = memory_bus(bootstrap_servers=broker, drain_timeout_seconds=0.1, shutdown_timeout_seconds=2)
    second = memory_bus(bootstrap_servers=broker, max_uncommitted=3, auto_commit_interval_ms=10)
    keeper = memory_bus(bootstrap_servers=broker, consumer_group="keeps-the-broker")
    first.subscriber("bet.placed", ordering="none")(stuck_at_three)
    second.subscriber("bet.placed", ordering="none")(handle)
    async with keeper:
        async with first:
            await first.publish_many("bet.placed", [Bet(bet_id=n) for n in range(10)], key="ada")
            await asyncio.wait_for(nine.wait(), 10)
        async with second:
            await second.publish_many("bet.placed", [Bet(bet_id=n) for n in range(10, 20)], key="ada")
            await asyncio.wait_for(all_of_them.wait(), 10)

    assert sorted(handled) == list(range(20))


async def test_where_a_new_group_starts_is_committed_before_anything_is_finished() -> None:
    """Under `latest` a crash before the first commit would else skip what had been begun."""
    bus = memory_bus(auto_offset_reset="latest")

    @bus.subscriber("bet.placed")
    async def handle(bet: Bet) -> None: ...

    async with bus.test() as t:
        await t.settle()

        committed = t.broker.committed("bets")
        assert {where.partition: position.offset for where, position in committed.items()} == {
            0: 0,
            1: 0,
            2: 0,
            3: 0,
        }
