"""No commit passes unfinished work: the tests that mutants of this package must fail.

`tests/faults/test_mutants.py` runs this file with one part of the engine made wrong at a time.
"""

from __future__ import annotations

import asyncio

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.records import TopicPartition
from convex_messaging_fastapi.testing import TestBench
from tests.bus.support import Bet, memory_bus

SEVERAL_COMMITS_SECONDS = 60.0
LETTERS = "convex.dlq"

TOO_FAR = "a commit passed unfinished work"


async def test_no_commit_passes_a_lower_message_when_higher_ones_are_finished() -> None:
    bus = memory_bus(concurrency=8)
    gate = asyncio.Event()
    finished: list[int] = []

    @bus.subscriber("bet.placed", ordering="none")
    async def handle(bet: Bet) -> None:
        if bet.bet_id == 3:
            await gate.wait()
        finished.append(bet.bet_id)

    async with bus.test() as t:
        await place_bets(bus, 10)
        await t.advance(SEVERAL_COMMITS_SECONDS)
        assert sorted(finished) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert committed(t) == 3, TOO_FAR

        gate.set()
        await t.advance(SEVERAL_COMMITS_SECONDS)
        assert committed(t) == 10


async def test_no_commit_passes_messages_that_were_only_handed_out() -> None:
    """However long their handlers take; `enable_auto_commit` commits finished work alone."""
    bus = memory_bus(concurrency=8, enable_auto_commit=True)
    gate = asyncio.Event()
    begun: list[int] = []

    @bus.subscriber("bet.placed", ordering="none")
    async def handle(bet: Bet) -> None:
        begun.append(bet.bet_id)
        await gate.wait()

    async with bus.test() as t:
        await place_bets(bus, 20)
        await t.advance(SEVERAL_COMMITS_SECONDS)
        assert len(begun) == 8, "the others are in line"
        assert committed(t) == 0, TOO_FAR

        gate.set()
        await t.advance(SEVERAL_COMMITS_SECONDS)
        assert committed(t) == 20


async def test_no_commit_passes_a_message_whose_letter_is_not_acknowledged() -> None:
    """Promise 10: if burying fails, nothing is lost."""
    bus = memory_bus()

    @bus.subscriber("bet.placed", ordering="none")
    async def handle(bet: Bet) -> None:
        if bet.bet_id == 3:
            raise ValueError("this bet cannot be placed")

    async with bus.test() as t:
        t.broker.refuse(LETTERS, times=1_000_000)
        await place_bets(bus, 10)
        await t.advance(SEVERAL_COMMITS_SECONDS)
        assert t.dead_letters() == []
        assert committed(t) == 3, TOO_FAR

        t.broker.refuse(LETTERS, times=-1_000_000)
        await t.advance(SEVERAL_COMMITS_SECONDS)
        assert [letter.original_offset for letter in t.dead_letters()] == [3]
        assert committed(t) == 10


async def place_bets(bus: MessageBus, many: int) -> None:
    """All in one partition, at the offsets of their ids."""
    await bus.publish_many("bet.placed", [Bet(bet_id=n) for n in range(many)], key="ada")


def committed(t: TestBench) -> int:
    """What the group has committed of the partition that holds the bets."""
    (where,) = {TopicPartition(record.topic, record.partition) for record in t.records("bet.placed")}
    return t.broker.committed("bets")[where].offset
