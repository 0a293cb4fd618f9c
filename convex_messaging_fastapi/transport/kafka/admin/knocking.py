"""One connection to one address, for whoever wants to know why there is none."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from aiokafka.client import collect_hosts
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from convex_messaging_fastapi.transport.base import Problem
from convex_messaging_fastapi.transport.kafka.admin.seen import Knock, SeenBroker
from convex_messaging_fastapi.transport.kafka.engine import Access, CandidConnection, ours
from convex_messaging_fastapi.transport.kafka.recovery import explain_connection

_ERRORS = (KafkaError, OSError, ValueError)


async def knock(access: Access, server: str, client_id: str, seconds: float) -> Knock:
    """Connect, log in, and ask who belongs to the cluster."""
    try:
        credentials = access.credentials
    except OSError as error:
        return Knock(server, Problem.TLS_FAILED.value, f"a certificate or key cannot be read: {error}")
    with ours(anywhere=access.anywhere):
        told = await _try(server, access, credentials, client_id, seconds)
        if told.problem == Problem.AUTHENTICATION_FAILED.value and access.protocol.startswith("SASL"):
            offered = await _offered(server, access, credentials, client_id, seconds)
            return replace(told, mechanisms=offered)
    return told


async def _try(
    server: str, access: Access, credentials: dict[str, Any], client_id: str, seconds: float
) -> Knock:
    connection = _connection(server, client_id, seconds, credentials)
    connection.anywhere = access.anywhere
    try:
        await connection.connect()
        answer = await connection.send(MetadataRequest([], allow_auto_topic_creation=False))
        brokers = tuple(SeenBroker(*broker[:3]) for broker in answer.brokers)
        return Knock(server, versions=connection.versions, brokers=brokers)
    except _ERRORS as error:
        why = explain_connection(error, server, access.protocol)
        return Knock(server, why.problem.value, why.detail)
    finally:
        connection.close()


async def _offered(
    server: str, access: Access, credentials: dict[str, Any], client_id: str, seconds: float
) -> tuple[str, ...]:
    """The mechanisms that the listener takes; none where it does not say."""
    protocol = access.protocol.replace("SASL_SSL", "SSL").replace("SASL_PLAINTEXT", "PLAINTEXT")
    plain = {name: value for name, value in credentials.items() if not name.startswith("sasl")}
    connection = _connection(server, client_id, seconds, plain | {"security_protocol": protocol})
    with suppress(*_ERRORS):
        try:
            await connection.connect()
            answer = await connection.send(SaslHandShakeRequest(credentials["sasl_mechanism"]))
            return tuple(sorted(answer.enabled_mechanisms))
        finally:
            connection.close()
    return ()


def _connection(server: str, client_id: str, seconds: float, options: dict[str, Any]) -> CandidConnection:
    ((host, port, _),) = collect_hosts([server], randomize=False)
    return CandidConnection(
        host, port, client_id=client_id, request_timeout_ms=int(seconds * 1000), **options
    )
