"""Every transport that must keep the promises, under one fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from convex_messaging_fastapi.clock import SystemClock
from convex_messaging_fastapi.observers import ONLY_THE_LOG
from convex_messaging_fastapi.settings import MessagingSettings
from convex_messaging_fastapi.transport.base import Transport
from convex_messaging_fastapi.transport.kafka import kafka_transport
from convex_messaging_fastapi.transport.memory import MemoryBroker, MemoryTransport
from convex_messaging_fastapi.transport.memory.broker import shared_broker
from tests.promises.fleet import Fleet, KafkaWitness, MemoryWitness
from tests.promises.stage import NewTransport, Reset, Stage
from tools.kafka.cluster import Cluster

REVOKE_DRAIN_SECONDS = 3.0

CANNOT: Mapping[str, Mapping[str, str]] = {
    "memory": {"missing topics are refused": "it makes a topic when one is first used"},
    "kafka": {},
}


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def transport_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_transport(transport_name: str, request: pytest.FixtureRequest) -> NewTransport:
    """Makes transports that lead to the same broker."""
    if transport_name == "memory":
        return _on_memory()
    return _on_kafka(request.getfixturevalue("kafka").bootstrap)


@pytest.fixture
async def stage(transport_name: str, new_transport: NewTransport, unique: str) -> AsyncIterator[Stage]:
    stage = Stage(transport_name, unique, new_transport, CANNOT[transport_name])
    yield stage
    await stage.close()


@pytest.fixture
def fleet(transport_name: str, request: pytest.FixtureRequest, unique: str) -> Iterator[Fleet]:
    cannot = CANNOT[transport_name]
    if transport_name == "memory":
        # A shared broker lives for as long as somebody holds it: here, until the test ends.
        broker = shared_broker(unique, SystemClock())
        yield Fleet("memory", f"memory://{unique}", unique, MemoryWitness(broker), cannot)
    else:
        cluster = request.getfixturevalue("kafka")
        yield Fleet("kafka", cluster.bootstrap, unique, KafkaWitness(cluster), cannot)


@pytest.fixture
def kafka_fleet(kafka: Cluster, unique: str) -> Fleet:
    """For what only Kafka can do."""
    return Fleet("kafka", kafka.bootstrap, unique, KafkaWitness(kafka), CANNOT["kafka"])


@pytest.fixture
def transport(stage: Stage) -> Transport:
    return stage.transport()


def _on_memory() -> NewTransport:
    broker = MemoryBroker(SystemClock())

    def new(reset: Reset) -> Transport:
        return MemoryTransport(broker, auto_offset_reset=reset, revoke_drain_seconds=REVOKE_DRAIN_SECONDS)

    return new


def _on_kafka(bootstrap: str) -> NewTransport:
    def new(reset: Reset) -> Transport:
        settings = MessagingSettings(
            bootstrap_servers=bootstrap,
            client_id="promises",
            auto_offset_reset=reset,
            session_timeout_ms=6000,
            request_timeout_ms=10_000,
            revoke_drain_seconds=REVOKE_DRAIN_SECONDS,
        )
        return kafka_transport(settings, SystemClock(), ONLY_THE_LOG)

    return new
