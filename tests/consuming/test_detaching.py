"""A subscription leaves a worker that goes on: nothing is lost, passed, or held up for the others."""

from __future__ import annotations

import asyncio

from tests.consuming.support import WHERE, Bench
from tests.consuming.test_worker import Handler, fails


async def test_what_comes_while_the_last_handler_of_a_topic_leaves_is_not_committed() -> None:
    handler = Handler(0)
    async with Bench(handler, commit_interval=5) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        leaving = asyncio.create_task(bench.worker.detach("handler", 20))
        await bench.turns()

        bench.transport.feed(1, 2, 3)
        await bench.advance(1)
        handler.gate.set()
        await leaving
        await bench.advance(6)

        assert handler.begun == [0]
        assert bench.transport.committed == {WHERE: 1}


async def test_a_revocation_waits_for_the_handlers_of_a_subscription_that_leaves() -> None:
    handler = Handler(0)
    async with Bench(handler) as bench:
        await bench.worker.attach(bench.subscribe(Handler(), id="other"), 1)
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        leaving = asyncio.create_task(bench.worker.detach("handler", 20))
        await bench.turns()

        revoked = bench.transport.revoke(bench.clock.now() + 5)
        await bench.turns()
        assert not revoked.done()

        handler.gate.set()
        await asyncio.gather(revoked, leaving)
        assert bench.transport.committed == {WHERE: 1}


async def test_a_partition_that_was_held_for_a_handler_that_has_left_goes_on() -> None:
    other = Handler()
    async with Bench(fails) as bench:
        await bench.worker.attach(bench.subscribe(other, id="other"), 1)
        owned = await bench.without_letter()
        assert owned.held is not None

        await bench.worker.detach("handler", 1)
        bench.transport.feed(1)
        await bench.advance(1)
        assert owned.held is None
        assert other.finished == [0, 1]


async def test_a_stop_amid_the_rebuilding_for_a_new_topic_does_not_join_the_group_again() -> None:
    slow = Handler(0)
    async with Bench(slow) as bench:
        bench.transport.assign()
        bench.transport.feed(0)
        await bench.turns()
        newcomer = bench.subscribe(Handler(), id="newcomer", topics=("convex.users",))
        joining = asyncio.create_task(bench.worker.attach(newcomer, 20))
        await bench.turns()
        bench.transport.listener = None
        stopping = asyncio.create_task(bench.worker.stop(20, bench.clock.now() + 25))
        await bench.turns()

        slow.gate.set()
        await asyncio.gather(joining, stopping)
        assert bench.transport.stopped
        assert bench.transport.listener is None, "it was not started again"
        assert bench.transport.committed == {WHERE: 1}
