"""Credentials go to nobody who should not have them, whatever a broker says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from convex_messaging_fastapi.transport.base import Problem
from convex_messaging_fastapi.transport.kafka.engine import Client
from convex_messaging_fastapi.transport.kafka.engine.connections.connecting import exposure
from convex_messaging_fastapi.transport.kafka.engine.connections.security import Access
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation
from convex_messaging_fastapi.transport.kafka.recovery.probe import Reached, reach
from tests.transport.kafka.bench import settings
from tests.transport.kafka.false_broker import Answer, FalseBroker, false_broker, first_of_scram

ELSEWHERE = "kafka.other-bank.example"
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


async def _token() -> str:
    return "s3cr3t-token"


def _access(broker: FalseBroker, mechanism: str, **choices: Any) -> Access:
    login: dict[str, Any] = {
        "sasl_username": "svc",
        "sasl_password": "hunter2",
        "oauth_token_provider": _token,
    }
    return Access(
        settings(
            broker.address, security_protocol="SASL_PLAINTEXT", sasl_mechanism=mechanism, **login, **choices
        )
    )


def _client(access: Access) -> Client:
    client = Client(bootstrap_servers=access.servers, request_timeout_ms=2000, **access.credentials)
    client.anywhere = access.anywhere
    return client


@pytest_asyncio.fixture
async def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name is led to loopback."""
    loop = asyncio.get_running_loop()
    theirs = loop.getaddrinfo

    async def lead(host: Any, port: Any, **kinds: Any) -> Any:
        return await theirs("127.0.0.1", port, **kinds)

    monkeypatch.setattr(loop, "getaddrinfo", lead)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_an_advertised_address_gets_no_credentials_unless_the_network_may_see_them(
    mechanism: str, allowed: bool, here: None
) -> None:
    async with false_broker() as known, false_broker() as other:
        client = _client(_access(known, "PLAIN", allow_plaintext_credentials=allowed))
        await client.bootstrap()
        known.advertised.append((ELSEWHERE, other.port))
        await client.force_metadata_update()
        client._sasl_mechanism, client._sasl_oauth_token_provider = mechanism, _Token()
        try:
            await client.ready(1)
            assert bool(other.logins) is allowed
            assert bool(other.connections) is allowed
        finally:
            await client.close()


class _Token(AbstractTokenProvider):  # type: ignore[misc]
    async def token(self) -> str:
        return await _token()


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_cluster_that_advertises_such_an_address_is_told_of_before_anything_is_started(
    mechanism: str,
) -> None:
    async with false_broker(*_answers(mechanism)) as known:
        known.advertised = [known.advertised[0], (ELSEWHERE, 9092)]
        found = await reach(_access(known, mechanism), "svc", 2.0)
    assert isinstance(found, Explanation)
    assert found.problem is Problem.AUTHENTICATION_FAILED
    if not mechanism.startswith("SCRAM"):  # that one goes no further: it does not know the password
        assert f"{ELSEWHERE}:9092" in found.detail
        assert "allow_plaintext_credentials" in found.detail


def _answers(mechanism: str) -> list[Answer]:
    return [first_of_scram(4096)] if mechanism.startswith("SCRAM") else []


async def test_where_they_may_go_the_cluster_is_reached() -> None:
    async with false_broker() as known:
        known.advertised = [(ELSEWHERE, 9092)]
        assert isinstance(
            await reach(_access(known, "PLAIN", allow_plaintext_credentials=True), "svc", 2.0), Reached
        )
        known.advertised = [("localhost", 9092), ("127.0.0.2", 1), ("::1", 2)]
        assert isinstance(await reach(_access(known, "PLAIN"), "svc", 2.0), Reached)


@pytest.mark.parametrize(
    "host", ["kafka", "evil.localhost", "localhost.", "127.0.0.1.example.org", "10.0.0.1"]
)
@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"])
def test_only_sasl_without_tls_is_an_exposure(host: str, protocol: str) -> None:
    assert (exposure(protocol, host, 9092, anywhere=False) is not None) is (protocol == "SASL_PLAINTEXT")
    assert exposure(protocol, host, 9092, anywhere=True) is None


@pytest.mark.parametrize("iterations", [0, 1, 4095, 1_000_001, 30_000_000, 2**31, 2**64, -1])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_number_of_iterations_out_of_bounds_is_refused_at_once(
    mechanism: str, iterations: int
) -> None:
    async with false_broker(first_of_scram(iterations)) as broker:
        began = time.process_time()
        found = await reach(_access(broker, mechanism), "svc", 5.0)
        assert time.process_time() - began < 1
        assert isinstance(found, Explanation)
        assert found.problem is Problem.AUTHENTICATION_FAILED
        assert f"asks for {iterations} iterations" in found.detail
        assert len(broker.logins) == 1, "no proof, of which the password could be guessed"


@pytest.mark.parametrize("iterations", [4096, 8192])
async def test_within_them_a_proof_is_sent_and_a_broker_that_does_not_know_the_password_is_told(
    iterations: int,
) -> None:
    async with false_broker(first_of_scram(iterations), lambda said: b"v=bm8=") as broker:
        found = await reach(_access(broker, "SCRAM-SHA-512"), "svc", 5.0)
        assert len(broker.logins) == 2
    assert isinstance(found, Explanation)
    assert "does not know this user's SCRAM credentials" in found.detail


NONSENSE: dict[str, bytes | None] = {
    "nothing": None,
    "no bytes": b"",
    "no parts": b"hello",
    "no UTF-8": b"\xff\xfe",
    "another nonce": b"r=abc,s=c2FsdA==,i=4096",
    "iterations that are no number": b"r=%s,s=c2FsdA==,i=many",
    "no salt": b"r=%s,i=4096",
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_instead_of_a_login_is_an_answer_like_any_other(said: bytes | None) -> None:
    def answer(first: bytes) -> bytes | None:
        return said if said is None else said.replace(b"%s", first.rpartition(b"r=")[2])

    for mechanism in ("SCRAM-SHA-256", "PLAIN"):
        async with false_broker(answer) as broker:
            access = _access(broker, mechanism)
            found = await reach(access, "svc", 5.0)
            if mechanism == "PLAIN" and not said:
                continue  # all that PLAIN expects
            assert isinstance(found, Explanation)
            assert found.problem is Problem.AUTHENTICATION_FAILED
            client = _client(access)
            with pytest.raises(KafkaError):
                await client.bootstrap()
            await client.close()


async def test_other_clients_of_the_engine_in_this_process_keep_their_own_connections() -> None:
    async with false_broker(first_of_scram(1)) as broker:
        producer = AIOKafkaProducer(
            bootstrap_servers=broker.address,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-256",
            sasl_plain_username="svc",
            sasl_plain_password="hunter2",
        )
        with pytest.raises((KafkaError, KeyError, ValueError)):
            await producer.start()
        await producer.stop()
        assert len(broker.logins) == 2, "they would send their proof"
