"""Who may do what about pauses and lag, and that a service without those rights runs all the same."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.operations import Operations
from convex_messaging_fastapi.parts import parts_for, transport_for
from convex_messaging_fastapi.verdicts import Verdict, ready
from tests.bus.test_letters_over_kafka import SECONDS, settings_of
from tests.support.guarded import Guarded
from tests.support.independent import Independent
from tests.support.waiting import eventually


def operating(settings: MessagingSettings) -> Operations:
    """What an operator has who runs no service."""
    clock = SystemClock()
    return Operations(parts_for(settings, transport_for(settings, clock), clock))


async def test_a_service_that_may_not_read_the_control_topic_runs_and_hears_once_it_may(
    guarded: Guarded, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic, control, got = f"{unique}.placed", f"{unique}.control", list[int]()
    service, operator = guarded.new_user(), guarded.new_user()
    writer = Independent(guarded.cluster.witnessed)
    await asyncio.to_thread(guarded.cluster.create_topic, topic, 1)
    await asyncio.to_thread(guarded.grant, service, "READ", topic=topic)
    await asyncio.to_thread(guarded.grant, service, "READ", group=unique)
    await asyncio.to_thread(guarded.grant, operator, "CREATE", "WRITE", topic=control)
    ops = operating(settings_of(guarded.cluster, unique, **operator.settings))
    await ops.pause("handle", group=unique, by="ada")
    bus = MessageBus(settings_of(guarded.cluster, unique, **service.settings))

    @bus.subscriber("placed", id="handle", dead_letter="discard")
    async def handle(message: dict[str, Any]) -> None:
        got.append(message["n"])

    def is_paused() -> bool:
        return bus.status().workers[0].subscriptions[0].paused is not None

    await asyncio.to_thread(writer.write, topic, [b'{"n":1}'])
    async with bus:
        await eventually(lambda: got == [1], SECONDS, "the message")
        assert ready(bus.status()) == Verdict(True, "up")
        assert not is_paused()
        await asyncio.to_thread(guarded.grant, service, "READ", topic=control)
        await eventually(is_paused, SECONDS, "the pause")
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len([line for line in lines if control in line]) == 1


async def test_lag_needs_to_describe_and_its_seconds_to_read(guarded: Guarded, unique: str) -> None:
    topic, writer, operator = f"{unique}.placed", Independent(guarded.cluster.witnessed), guarded.new_user()
    await asyncio.to_thread(guarded.cluster.create_topic, topic, 1)
    await asyncio.to_thread(writer.write, topic, [b"{}"] * 5)
    await asyncio.to_thread(writer.commit, unique, topic, 0, 2)
    await asyncio.to_thread(guarded.grant, operator, "DESCRIBE", topic=topic)
    await asyncio.to_thread(guarded.grant, operator, "DESCRIBE", group=unique)
    settings = settings_of(guarded.cluster, unique, **operator.settings)
    (told,) = await operating(settings).lag(unique)
    assert (told.committed, told.end, told.lag, told.time_lag_seconds) == (2, 5, 3, None)
    await asyncio.to_thread(guarded.grant, operator, "READ", topic=topic)
    (told,) = await operating(settings).lag(unique)
    assert told.time_lag_seconds is not None
