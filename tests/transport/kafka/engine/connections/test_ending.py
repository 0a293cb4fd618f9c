"""How an engine is ended that does not end by itself."""

from __future__ import annotations

import asyncio
import gc

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.transport.kafka.engine.connections.client import Client
from convex_messaging_fastapi.transport.kafka.engine.connections.ending import end


class Quiet(Client):
    """A client without connections."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


async def test_a_part_that_minds_no_cancelling_is_left_in_time_and_without_a_word() -> None:
    """What was given up is nobody's error; one that is told by the garbage collector fails this test."""
    clock, client, free = SystemClock(), Quiet(), asyncio.Event()

    async def stop() -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    stopping = asyncio.ensure_future(stop())
    began = clock.now()
    assert not await end(clock, began + 0.06, _as_coroutine(stopping), [stopping], client)
    assert clock.now() - began < 1
    assert client.closed
    free.set()
    await stopping
    gc.collect()


async def _as_coroutine(future: asyncio.Future[None]) -> None:
    await asyncio.shield(future)


class Broken(Client):
    """A client of which a part had died: its end fails with what that part died of."""

    def __init__(self) -> None:
        pass

    async def close(self) -> None:
        raise RuntimeError("the handler is closed")


async def test_what_a_client_died_of_is_not_told_again_when_it_is_closed() -> None:
    """Whoever replaced it has told of it; one that is told by the garbage collector fails this test."""

    async def stop() -> None:
        raise RuntimeError("the handler is closed")

    clock = SystemClock()
    assert not await end(clock, clock.now() + 1, stop(), [], Broken())
    gc.collect()
