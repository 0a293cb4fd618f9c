"""An answer that was lost on its way is found out by one to a later question on the same connection."""

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CorrelationIdError
from aiokafka.protocol.admin import ApiVersionRequest

from convex_messaging_fastapi.transport.kafka.engine.connections import client
from convex_messaging_fastapi.transport.kafka.engine.connections.client import Connection
from tests.support.waiting import eventually

LONG_AGO = -1000.0


class Broker:
    """What a connection writes to."""

    def __init__(self) -> None:
        self.asked = 0
        self.refusal: Exception | None = None

    def write(self, data: bytes) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.asked += 1

    def close(self) -> None: ...


@pytest.fixture
async def connection() -> Any:
    made: Any = Connection("kafka", 9092, request_timeout_ms=5000)
    made._reader, made._writer = asyncio.StreamReader(), Broker()
    made._read_task = asyncio.ensure_future(asyncio.Event().wait())
    yield made
    made.close()


async def owing(connection: Any) -> asyncio.Future[Any]:
    """A question of the engine that was asked long ago."""
    asked: asyncio.Future[Any] = asyncio.ensure_future(connection.send(ApiVersionRequest()))
    await eventually(lambda: connection._requests, 1, "the question to be sent")
    connection._last_action = LONG_AGO
    return asked


async def pinged(connection: Any) -> int:
    before = connection._writer.asked
    connection.ping_if_overdue(4.0)
    await asyncio.sleep(0)
    return int(connection._writer.asked - before)


async def test_an_answer_that_is_owed_is_chased_again_and_again_in_one_silence_and_not_more_often(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked while everything was lost is lost as well."""
    asked = await owing(connection)
    now = 0.0
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: now))
    pings = 0
    for _ in range(400):  # of a look every tenth of a second
        pings += await pinged(connection)
        now += 0.1
    assert pings == 10
    connection._last_action = now
    assert await pinged(connection) == 0
    now += 4.1
    assert await pinged(connection) == 1
    connection.close()
    with pytest.raises(Exception, match="closed"):
        await asked


async def test_nothing_is_asked_where_none_is_owed_or_something_was_heard_just_now(connection: Any) -> None:
    connection._last_action = LONG_AGO
    assert await pinged(connection) == 0
    asked = await owing(connection)
    connection._last_action = asyncio.get_running_loop().time() + 1000
    assert await pinged(connection) == 0
    connection.close()
    connection._last_action = LONG_AGO
    connection.ping_if_overdue(4.0)
    with pytest.raises(Exception, match="closed"):
        await asked


async def test_an_answer_to_it_alone_ends_the_connection_for_whoever_waits(connection: Any) -> None:
    asked = await owing(connection)
    await pinged(connection)
    connection._handle_frame(struct.pack(">ihi", connection._correlation_id, 0, 0))
    with pytest.raises(CorrelationIdError):
        await asked
    assert not connection.connected()
    await asyncio.wait_for(asyncio.gather(*connection._pinging), 1)
    await asyncio.sleep(0)
    assert not connection._pinging


async def test_the_first_answer_after_a_silence_ends_the_connection_whatever_was_lost_in_it(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await owing(connection)
    now = 0.0
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: now))
    for _ in range(3):
        await pinged(connection)
        now += 5
    connection._handle_frame(struct.pack(">ihi", connection._correlation_id, 0, 0))
    with pytest.raises(CorrelationIdError):
        await asked
    assert not connection.connected()
    await asyncio.wait_for(asyncio.gather(*connection._pinging), 1)


async def test_a_connection_that_breaks_under_it_says_so_to_whoever_waits_and_to_nobody_else(
    connection: Any,
) -> None:
    """As uvloop has it, where the other side has just reset it."""
    asked = await owing(connection)
    connection._writer.refusal = RuntimeError("the handler is closed")
    connection.ping_if_overdue(4.0)
    await asyncio.wait_for(asyncio.gather(*connection._pinging), 1)
    with pytest.raises(Exception, match="closed"):
        await asked


async def test_answers_read_behind_the_one_that_closed_the_connection_are_for_nobody(
    connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """They arrive in one read, and the engine goes on with what it has read."""
    connection._read_task.cancel()
    connection._read_task = connection._create_reader_task()
    asked = await owing(connection)
    earlier_lost = struct.pack(">ii", 4, 7)
    connection._reader.feed_data(earlier_lost * 3)
    with pytest.raises(CorrelationIdError):
        await asked
    await eventually(lambda: connection._read_task is None, 1, "the connection to be closed")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not caplog.records
