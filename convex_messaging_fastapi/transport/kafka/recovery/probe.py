"""A connection of our own, made to learn why the engine has none.

The engine's `start` raises the same error for a wrong password, a wrong certificate and a dead broker.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from aiokafka.client import collect_hosts
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from convex_messaging_fastapi.status import REFUSALS
from convex_messaging_fastapi.transport.base import Problem
from convex_messaging_fastapi.transport.kafka.engine import Access, CandidConnection, exposure, ours
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation, explain_connection


class Reached(NamedTuple):
    """The first address that answered; `options` are the engine's, with that address in front."""

    options: dict[str, Any]

    @property
    def server(self) -> str:
        return str(self.options["bootstrap_servers"][0])


async def reach(access: Access, client_id: str, seconds: float) -> Reached | Explanation:
    """Try every bootstrap address at once: the first that answers, or else the best explanation."""
    try:
        credentials = access.credentials
    except OSError as error:
        return Explanation(Problem.TLS_FAILED, f"a certificate or key cannot be read: {error}")
    with ours(anywhere=access.anywhere):
        tries = [
            asyncio.ensure_future(_try(server, access, credentials, client_id, seconds))
            for server in access.servers
        ]
    try:
        return await _first(tries, access.servers, credentials)
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def _first(
    tries: list[asyncio.Task[Explanation | None]], servers: list[str], credentials: dict[str, Any]
) -> Reached | Explanation:
    failures: list[Explanation] = []
    waiting = dict(zip(tries, servers, strict=True))
    while waiting:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            server = waiting.pop(task)
            failure = task.result()
            if failure is None:
                return Reached({"bootstrap_servers": _in_front(server, servers), **credentials})
            failures.append(failure)
    # A refusal explains more than a broker that does not answer.
    return min(failures, key=lambda failure: failure.problem not in REFUSALS)


async def _try(
    server: str, access: Access, credentials: dict[str, Any], client_id: str, seconds: float
) -> Explanation | None:
    ((host, port, _),) = collect_hosts([server], randomize=False)
    connection = CandidConnection(
        host, port, client_id=client_id, request_timeout_ms=int(seconds * 1000), **credentials
    )
    connection.anywhere = access.anywhere
    try:
        await connection.connect()
        answer = await connection.send(MetadataRequest([], allow_auto_topic_creation=False))
    except (KafkaError, OSError, ValueError) as error:
        return explain_connection(error, server, access.protocol)
    finally:
        connection.close()
    return _exposing(answer, access)


def _exposing(answer: Any, access: Access) -> Explanation | None:
    """Refuses a cluster that names addresses where credentials may not go; each connection checks again."""
    addresses = ((broker[1], broker[2]) for broker in answer.brokers)
    sentences = (exposure(access.protocol, *address, anywhere=access.anywhere) for address in addresses)
    exposed = next((sentence for sentence in sentences if sentence), None)
    return None if exposed is None else Explanation(Problem.AUTHENTICATION_FAILED, exposed)


def _in_front(server: str, servers: list[str]) -> list[str]:
    return [server, *(other for other in servers if other != server)]
