"""Settings of publishing: where a key goes, how long a broker may take, and how much it may be."""

from __future__ import annotations

import asyncio

import pytest

from convex_messaging_fastapi import MessageTooLarge, PublishError, PublishFailed
from tests.settings.effects.test_consuming import Bet, bus_with
from tests.support.wire import wire_cluster

SLOW_MS = 1200


@pytest.mark.parametrize(("name", "partitions"), [("murmur2", [1, 2, 2, 2]), ("crc32", [0, 0, 3, 3])])
async def test_partitioner_decides_which_partition_a_key_belongs_to(name: str, partitions: list[int]) -> None:
    """Of four, as librdkafka's `murmur2` and `consistent` do."""
    bus = bus_with(partitioner=name)

    async with bus.test():
        keys = ("ada", "bob", "carol", "dora")
        receipts = [await bus.publish("bet.placed", Bet(bet_id=1), key=key) for key in keys]
    assert [receipt.partition for receipt in receipts] == partitions


async def test_request_timeout_ms_is_how_long_a_broker_may_take_to_answer() -> None:
    """One that takes 1.2 s is waited for, or is not."""
    with wire_cluster() as wire:
        wire.topic("convex.bet.placed")
        patient, impatient = (
            bus_with(bootstrap_servers=wire.bootstrap_servers, request_timeout_ms=ms) for ms in (5000, 1000)
        )
        async with patient, impatient:
            for bus in (patient, impatient):
                await bus.publish("bet.placed", Bet(bet_id=1))
            wire.round_trip(SLOW_MS)
            await patient.publish("bet.placed", Bet(bet_id=2), timeout=3)
            with pytest.raises(PublishError):
                await impatient.publish("bet.placed", Bet(bet_id=2), timeout=3)
            wire.round_trip(0)


@pytest.mark.parametrize("limit", [1024, 50_000])
async def test_max_message_bytes_is_how_large_a_message_may_be_that_is_published(limit: int) -> None:
    bus = bus_with(max_message_bytes=limit)

    async with bus.test():
        await bus.publish("bet.placed", bytes(limit))
        with pytest.raises(MessageTooLarge, match=f"max_message_bytes allows: {limit + 1} bytes"):
            await bus.publish("bet.placed", bytes(limit + 1))


@pytest.mark.parametrize("limit", [65_536, 300_000])
async def test_max_pending_bytes_is_how_much_may_wait_to_be_acknowledged(limit: int) -> None:
    bus, bet = bus_with(max_pending_bytes=limit), bytes(10_000)

    async with bus.test() as t:
        t.broker.down()
        fitting = limit // 11_000
        waiting = [asyncio.ensure_future(bus.publish("bet.placed", bet)) for _ in range(fitting)]
        await t.advance(1)
        assert not any(task.done() for task in waiting)
        with pytest.raises(PublishFailed, match=f"max_pending_bytes allows .{limit}."):
            await bus.publish("bet.placed", bytes(20_000))
        t.broker.up()
        await t.settle()
        await asyncio.gather(*waiting)
