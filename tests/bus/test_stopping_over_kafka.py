"""The stop on a real Kafka: in time in every state, with no connection, task or thread left after it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from convex_messaging_fastapi import BusStopped, MessageBus, MessagingSettings, Retry
from convex_messaging_fastapi.status import Phase
from convex_messaging_fastapi.verdicts import ready
from tests.bus.support import Bet
from tests.support.leftovers import going
from tests.support.waiting import eventually
from tools.kafka.cluster import Cluster

DRAIN, SHUTDOWN, LATE = 1.0, 3.0, 1.0
"""Seconds; `LATE` is what a machine that is busy with other things may add."""

SECONDS = 30.0


class Scene:
    """A bus on a Kafka whose handler waits at a gate."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.topics = [f"{name}.{n}" for n in range(3)]
        self.bus = MessageBus(
            MessagingSettings(
                bootstrap_servers=cluster.bootstrap,
                consumer_group=name,
                topic_prefix=name,
                create_topics=True,
                topic_partitions=2,
                drain_timeout_seconds=DRAIN,
                shutdown_timeout_seconds=SHUTDOWN,
                revoke_drain_seconds=DRAIN,
                session_timeout_ms=6000,
                publish_timeout_seconds=20,
            )
        )
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.calls = 0
        self.others: list[asyncio.Task[Any]] = []

    async def handle(self, bet: Bet) -> None:
        self.calls += 1
        self.begun.set()
        await self.gate.wait()

    async def with_a_handler_at_work(self) -> str:
        id = await self.bus.subscribe("placed", self.handle, retry=Retry(attempts=1))
        await self.bus.publish("placed", Bet(bet_id=1), key="ada")
        await asyncio.wait_for(self.begun.wait(), SECONDS)
        return id

    def meanwhile(self, call: Any) -> None:
        self.others.append(asyncio.create_task(call))


async def just_started(scene: Scene) -> None:
    """Neither the producer nor the consumer has met the cluster yet."""
    await scene.bus.subscribe("placed", scene.handle)


async def at_rest(scene: Scene) -> None:
    await scene.bus.subscribe("placed", scene.handle)
    await scene.bus.publish("won", Bet(bet_id=1))
    await eventually(lambda: ready(scene.bus.status()).ok, SECONDS, "the bus to be ready")


async def a_handler_at_work(scene: Scene) -> None:
    await scene.with_a_handler_at_work()


async def a_group_that_comes(scene: Scene) -> None:
    await scene.with_a_handler_at_work()
    scene.meanwhile(scene.bus.subscribe("won", scene.handle, group=f"{scene.topics[0]}-another"))
    await turns()


async def a_rebuild(scene: Scene) -> None:
    await scene.with_a_handler_at_work()
    scene.meanwhile(scene.bus.subscribe("won", scene.handle))
    await turns()


async def an_unsubscribe(scene: Scene) -> None:
    id = await scene.with_a_handler_at_work()
    scene.meanwhile(scene.bus.unsubscribe(id))
    scene.meanwhile(scene.bus.subscribe("won", scene.handle))
    await turns()


async def an_outage(scene: Scene) -> None:
    await scene.with_a_handler_at_work()
    await asyncio.to_thread(scene.cluster.brokers[0].pause)
    for bet_id in range(5):
        scene.meanwhile(scene.bus.publish("won", Bet(bet_id=bet_id)))
    await turns()


async def topics_being_made(scene: Scene) -> None:
    await asyncio.to_thread(scene.cluster.brokers[0].pause)
    await scene.bus.subscribe("placed", scene.handle)
    await turns()


SITUATIONS = (
    just_started,
    at_rest,
    a_handler_at_work,
    a_group_that_comes,
    a_rebuild,
    an_unsubscribe,
    an_outage,
    topics_being_made,
)


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_on_kafka_a_stop_is_in_time_and_no_connection_task_or_thread_is_left(
    kafka: Cluster, unique: str, situation: Callable[[Scene], Awaitable[None]]
) -> None:
    await asyncio.to_thread(sum, ())  # the loop's own pool of threads, which stays
    before = going()
    scene = Scene(kafka, unique)
    await scene.bus.start()
    await situation(scene)

    asked_at = time.monotonic()
    with suppress(TimeoutError):
        await asyncio.wait_for(scene.bus.stop(), 0.05)  # a caller that goes away
    await asyncio.gather(scene.bus.stop(), scene.bus.stop())
    took = time.monotonic() - asked_at

    assert took < SHUTDOWN + LATE
    assert scene.bus.status().phase is Phase.STOPPED
    await asyncio.wait_for(asyncio.gather(*scene.others, return_exceptions=True), SECONDS)
    calls = scene.calls
    await eventually(lambda: not _but_for_the_pool(going().since(before)), SECONDS, "an end of everything")
    with pytest.raises(BusStopped):
        await scene.bus.publish("won", Bet(bet_id=9))
    assert scene.calls == calls


async def test_on_kafka_groups_that_come_and_go_and_buses_too_leave_nothing(
    kafka: Cluster, unique: str
) -> None:
    await asyncio.to_thread(sum, ())
    scene = Scene(kafka, unique)
    scene.gate.set()
    await asyncio.to_thread(kafka.create_topic, f"{unique}.placed", 1)

    async def come_and_go(times: range) -> None:
        async with scene.bus:
            for n in times:
                id = await scene.bus.subscribe("placed", scene.handle, group=f"{unique}-{n}")
                assert await scene.bus.unsubscribe(id)
            transport: Any = scene.bus._life.get().parts.transport
            gc.collect()
            assert len(transport._histories) == 0

    await come_and_go(range(3))
    before = going()
    for start in (10, 20, 30):
        await come_and_go(range(start, start + 10))
        await eventually(lambda: not _but_for_the_pool(going().since(before)), SECONDS, "an end of it")


def _but_for_the_pool(more: str) -> str:
    """Without the threads in which asyncio looks up names; they are the loop's, and stay."""
    return ", ".join(what for what in more.split(", ") if what and not what.startswith("thread asyncio_"))


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)
