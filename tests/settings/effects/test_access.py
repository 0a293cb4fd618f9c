"""Settings by which a real Kafka lets a bus in, and each of which, being wrong, keeps it out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from convex_messaging_fastapi import MessageBus, MessagingSettings
from convex_messaging_fastapi.status import ContactStatus
from tests.support.required import start_or_skip
from tests.support.waiting import eventually
from tests.transport.kafka.secured import PASSWORD, USER, Secured, secured_cluster

pytestmark = pytest.mark.kafka

SCRAM_ONLY = "carol"
"""A user of SCRAM-SHA-256 and of nothing else."""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with ExitStack() as ends:
        cluster = start_or_skip(ends, secured_cluster(tmp_path_factory.mktemp("certificates")))
        make_scram_user(cluster)
        yield cluster


def make_scram_user(cluster: Secured) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.addresses["PLAINTEXT"]})
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    wanted = UserScramCredentialUpsertion(SCRAM_ONLY, how, PASSWORD.encode())
    admin.alter_user_scram_credentials([wanted])[SCRAM_ONLY].result(10)


def sasl(cluster: Secured) -> dict[str, Any]:
    return {
        "bootstrap_servers": cluster.addresses["SASLS"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_username": SCRAM_ONLY,
        "sasl_password": PASSWORD,
        "ssl_ca_location": cluster.file("ca.crt"),
    }


def mutual(cluster: Secured) -> dict[str, Any]:
    return {
        "bootstrap_servers": cluster.addresses["MTLS"],
        "security_protocol": "SSL",
        "ssl_ca_location": cluster.file("ca.crt"),
        "ssl_certificate_location": cluster.file("broker.crt"),
        "ssl_key_location": cluster.file("broker.key"),
    }


def bus_with(unique: str, **choices: Any) -> MessageBus:
    usual: dict[str, Any] = {"topic_prefix": unique, "consumer_group": unique, "create_topics": True}
    return MessageBus(MessagingSettings(**(usual | choices)))


@pytest.mark.parametrize("way", [sasl, mutual])
async def test_with_all_of_them_right_a_bus_publishes_handles_and_buries(
    secured: Secured, unique: str, way: Any
) -> None:
    bus = bus_with(unique, **way(secured))
    heard, buried = asyncio.Event(), asyncio.Event()

    @bus.subscriber("bet.placed")
    async def hear(message: dict[str, Any]) -> None:
        heard.set()

    @bus.subscriber("bet.placed", group=f"{unique}-strict")
    async def refuse(number: int) -> None: ...

    @bus.subscriber("dlq")
    async def bury(letter: dict[str, Any]) -> None:
        buried.set()

    async with bus:
        await bus.publish("bet.placed", {})
        await asyncio.wait_for(heard.wait(), 20)
        await asyncio.wait_for(buried.wait(), 20)


@pytest.mark.parametrize(
    ("setting", "wrong", "problem"),
    [
        ("security_protocol", "SASL_PLAINTEXT", None),
        ("sasl_mechanism", "PLAIN", "auth_failed"),
        ("sasl_mechanism", "SCRAM-SHA-512", "auth_failed"),
        ("sasl_username", USER + "-unknown", "auth_failed"),
        ("sasl_password", "wrong", "auth_failed"),
        ("ssl_ca_location", "other.crt", "tls_failed"),
    ],
)
async def test_with_one_of_them_wrong_it_is_kept_out_and_says_so(
    secured: Secured, unique: str, setting: str, wrong: str, problem: str | None
) -> None:
    value = secured.file(wrong) if setting.startswith("ssl") else wrong
    choices = sasl(secured) | {setting: value}
    await kept_out(bus_with(unique, **choices), problem)


async def test_without_the_clients_certificate_and_its_key_it_is_kept_out(
    secured: Secured, unique: str
) -> None:
    without = mutual(secured) | {"ssl_certificate_location": None, "ssl_key_location": None}
    await kept_out(bus_with(unique, **without), "tls_failed")


async def test_a_key_that_is_not_the_certificates_is_told_of(secured: Secured, unique: str) -> None:
    other = mutual(secured) | {"ssl_key_location": secured.file("ca.key")}
    await kept_out(bus_with(unique, **other), "tls_failed")


async def kept_out(bus: MessageBus, problem: str | None) -> None:
    """Start the bus, and see that its producer is not let in; the reason, unless any will do."""
    async with bus:
        await eventually(lambda: told(bus) not in (None, "connecting"), 20, "the reason")
        assert problem in (None, told(bus))
        assert contact(bus).age_seconds is None, "no broker has ever answered well"


def told(bus: MessageBus) -> str | None:
    return contact(bus).problem


def contact(bus: MessageBus) -> ContactStatus:
    producer = bus.status().producer
    assert producer is not None
    return producer.contact
