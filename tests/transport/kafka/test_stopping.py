"""A bus stops within its bound whatever its cluster withholds: an address, a coordinator, a right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.verdicts import overall
from tests.conftest import KafkaWith
from tests.support.guarded import Guarded
from tests.support.waiting import eventually
from tests.transport.kafka.bench import bus_over

pytestmark = pytest.mark.kafka

BOUND_SECONDS = 4
STATES = {
    "CLOSED": "broker_unreachable",
    "NAMELESS": "broker_unreachable",
    "no coordinator": "joining",
    "no rights": "not_authorized",
    "no right on the topic": "not_authorized",
}
"""What a cluster withholds, and the word of the status that tells of it."""


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def way(state: str, request: pytest.FixtureRequest, unique: str) -> dict[str, Any]:
    """Settings that lead to such a cluster."""
    if state == "no coordinator":
        kafka_with: KafkaWith = request.getfixturevalue("kafka_with")
        cluster = kafka_with({"offsets.topic.replication.factor": "3"}, coordinated=False)
        return {"bootstrap_servers": cluster.bootstrap}
    guarded: Guarded = request.getfixturevalue("guarded")
    if state in guarded.astray:
        return {"bootstrap_servers": guarded.astray[state]}
    user = guarded.new_user()
    if state == "no right on the topic":
        guarded.grant(user, "READ", group=unique)
        guarded.grant(user, "DESCRIBE", topic=unique)
        guarded.cluster.create_topic(unique, 1)
    return dict(user.settings)


async def test_a_stop_is_bounded(state: str, way: dict[str, Any], unique: str) -> None:
    limits: dict[str, Any] = {"drain_timeout_seconds": 2, "shutdown_timeout_seconds": BOUND_SECONDS}
    bus = bus_over(group=unique, **way, **limits)

    @bus.subscriber(unique)
    async def handle(message: bytes) -> None: ...

    await bus.start()
    await eventually(lambda: STATES[state] in overall(bus.status()).reasons, 20, STATES[state])
    clock = SystemClock()
    stopping = clock.now()
    await asyncio.wait_for(bus.stop(), 3 * BOUND_SECONDS)
    assert clock.now() - stopping < BOUND_SECONDS + 0.5
