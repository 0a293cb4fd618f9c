"""A replay topic that a service may not read is no trouble to it, and its copies are read once it may."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from convex_messaging_fastapi import MessageBus
from convex_messaging_fastapi.messages.copies import ReplayMarks, copy_for_handler
from convex_messaging_fastapi.messages.topics import replay_topic
from convex_messaging_fastapi.records import Record
from convex_messaging_fastapi.verdicts import Verdict, ready
from tests.bus.test_letters_over_kafka import SECONDS, settings_of
from tests.support.guarded import Guarded
from tests.support.independent import Independent
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("topics_are_soon_found")


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_without_the_right_to_read_it_a_service_is_ready_and_handles_all_else(
    guarded: Guarded, unique: str, reset: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic, replays = f"{unique}.placed", replay_topic(unique, unique)
    user, writer = guarded.new_user(), Independent(guarded.cluster.witnessed)
    for name in (topic, replays):
        await asyncio.to_thread(guarded.cluster.create_topic, name, 1)
    await asyncio.to_thread(guarded.grant, user, "READ", topic=topic)
    await asyncio.to_thread(guarded.grant, user, "READ", group=unique)
    settings = settings_of(guarded.cluster, unique, auto_offset_reset=reset, **user.settings)
    bus, got = MessageBus(settings), list[int]()

    @bus.subscriber("placed", id="handle", dead_letter="discard")
    async def handle(message: dict[str, Any]) -> None:
        got.append(message["n"])

    marks = ReplayMarks(1, f"{unique}.dlq/0/0", "job-1", "ada")
    copy = copy_for_handler(Record(topic, 0, 7, 0, None, b'{"n":7}'), unique, "handle", marks)
    headers: list[tuple[str, str | bytes | None]] = list(copy.headers)
    await asyncio.to_thread(writer.write, replays, [copy.value], headers=headers)
    async with bus:
        await eventually(lambda: bool(bus.status().workers[0].partitions), SECONDS, "the partition")
        for n in range(1, 4):
            await asyncio.to_thread(writer.write, topic, [b'{"n":%d}' % n])
            await until_handled(got, [*range(1, n + 1)])
            assert ready(bus.status()) == Verdict(True, "up")
        assert bus.status().workers[0].contact.problem is None
        await asyncio.to_thread(guarded.grant, user, "READ", topic=replays)
        await until_handled(got, [1, 2, 3, 7])
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert not [line for line in lines if replays in line]


async def until_handled(got: list[int], wanted: list[int]) -> None:
    await eventually(lambda: got == wanted, SECONDS, f"{wanted} to be handled")
