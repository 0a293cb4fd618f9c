"""What tests may ask of a broker, and how one is shared in a process."""

from __future__ import annotations

import asyncio
import gc
import threading

from convex_messaging_fastapi.clock import ManualClock, SystemClock
from convex_messaging_fastapi.records import Record, TopicPartition
from convex_messaging_fastapi.transport.base import CommitOutcome, Fetched, Position
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport, shared_broker
from tests.transport.memory.bench import NOTHING, Listener, turns, write


async def test_records_are_shown_in_the_order_written(
    broker: MemoryBroker, transport: MemoryTransport
) -> None:
    for partition, value in enumerate([b"a", b"b", b"c"]):
        await write(transport, "orders", 3 - partition, value)
    assert [record.value for record in broker.records("orders")] == [b"a", b"b", b"c"]
    assert broker.end_offsets("orders") == (0, 1, 1, 1)


def test_of_what_was_never_used_there_is_nothing(broker: MemoryBroker) -> None:
    assert broker.records("orders") == []
    assert broker.end_offsets("orders") == ()
    assert broker.committed("billing") == {}
    assert broker.idle("billing")


async def test_a_group_is_idle_once_all_that_it_reads_is_committed(
    broker: MemoryBroker, transport: MemoryTransport
) -> None:
    where = TopicPartition("orders", 0)
    consumer = transport.consumer("billing")
    await consumer.start(["orders"], Listener())
    fetched = await consumer.fetch(NOTHING, 0)
    assert broker.idle("billing")
    await write(transport, "orders", 0, b"x")
    assert not broker.idle("billing")
    assert await consumer.commit(fetched.epoch, {where: Position(1)}, 0) == {where: CommitOutcome.COMMITTED}
    assert broker.idle("billing")
    assert broker.committed("billing") == {where: Position(1)}


async def test_a_group_in_a_rebalance_is_not_idle(broker: MemoryBroker, transport: MemoryTransport) -> None:
    first, second = transport.consumer("billing"), transport.consumer("billing")
    await first.start(["orders"], Listener())
    await second.start(["orders"], Listener())
    assert not broker.idle("billing")
    await first.fetch(NOTHING, 0)
    assert broker.idle("billing")


def test_a_name_is_one_broker_for_as_long_as_somebody_holds_it() -> None:
    clock = ManualClock()
    held = shared_broker("shop", clock)
    assert shared_broker("shop", SystemClock()) is held
    assert held.clock is clock
    assert shared_broker("other", clock) is not held


async def test_a_shared_broker_is_gone_with_its_last_holder() -> None:
    transport = MemoryTransport(shared_broker("passing", ManualClock()))
    consumer = transport.consumer("billing")
    await consumer.start(["orders"], Listener())
    await write(transport, "orders", 0, b"x")
    gc.disable()  # it must not take a collection, or what a test left behind would show up in the next
    try:
        del transport, consumer
        assert shared_broker("passing", ManualClock()).records("orders") == []
    finally:
        gc.enable()


async def test_buses_in_threads_of_their_own_may_share_a_broker() -> None:
    """A record written in one thread wakes a fetch that waits on another thread's loop."""
    transport = MemoryTransport(MemoryBroker(SystemClock()))
    waits = threading.Event()
    seen: list[Record] = []

    async def read() -> None:
        consumer, listener = transport.consumer("billing"), Listener()
        await consumer.start(["orders"], listener)
        await consumer.fetch(NOTHING, 0)
        fetching = asyncio.ensure_future(consumer.fetch({TopicPartition("orders", 2): 1}, 60))
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, waits.set)
        seen.extend((await fetching).records[TopicPartition("orders", 2)])

    reading = asyncio.create_task(asyncio.to_thread(asyncio.run, read()))
    async with asyncio.timeout(20):
        await asyncio.to_thread(waits.wait)
        await write(transport, "orders", 2, b"from elsewhere")
        await reading
    assert [record.value for record in seen] == [b"from elsewhere"]


async def test_a_loop_that_was_closed_under_a_fetch_disturbs_nobody(transport: MemoryTransport) -> None:
    abandoned: list[asyncio.Task[Fetched]] = []

    async def begin() -> None:
        consumer = transport.consumer("abandoned")
        await consumer.start(["orders"], Listener())
        await consumer.fetch(NOTHING, 0)
        abandoned.append(asyncio.ensure_future(consumer.fetch(NOTHING, 60)))
        await turns()

    def run() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()

    await asyncio.to_thread(run)
    assert not abandoned[0].done()
    assert (await write(transport, "orders", 0, b"x")).base_offset == 0
    abandoned[0]._log_destroy_pending = False  # type: ignore[attr-defined]
