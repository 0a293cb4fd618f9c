"""The way to the cluster, step by step: names, ports, TLS, login, and where brokers send clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from convex_messaging_fastapi.cli.doctor.findings import Finding, doubtful, good, wrong

if TYPE_CHECKING:
    from convex_messaging_fastapi.settings import MessagingSettings
    from convex_messaging_fastapi.transport.kafka.admin import Knock, SeenBroker

_HANG_UP_SECONDS = 1.0
_SOON_DAYS = 30
_FETCH = 1
_RELEASES = (
    (18, "4.1 or later"),
    (17, "3.9 or 4.0"),
    (16, "3.7 or 3.8"),
    (15, "3.5 or 3.6"),
    (13, "3.1 to 3.4"),
)


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NoWay(Exception):
    """No step behind this one can be made; the finding that says why was told."""


def addresses_of(settings: MessagingSettings) -> list[Address]:
    servers = [server.strip() for server in settings.bootstrap_servers.split(",")]
    parts = [server.rpartition(":") for server in servers if server]
    return [Address(host.strip("[]"), int(port)) for host, _, port in parts]


async def of_way(settings: MessagingSettings, seconds: float) -> AsyncIterator[Finding]:
    """Every step to the first address that answers. Raises `NoWay` behind the finding that says why not."""
    reached = []
    async for address, finding in _names(addresses_of(settings), seconds):
        yield finding
        if address is not None:
            reached.append(address)
    open_ones = []
    for address in reached:
        finding = await _port("tcp", address, seconds, _FIX_PORT)
        yield finding
        if not finding.fix:
            open_ones.append(address)
    if not open_ones:
        raise NoWay
    async for finding in _into_cluster(settings, open_ones, seconds):
        yield finding


async def _into_cluster(
    settings: MessagingSettings, addresses: Iterable[Address], seconds: float
) -> AsyncIterator[Finding]:
    from convex_messaging_fastapi.transport.kafka import knocking

    brokers: tuple[SeenBroker, ...] = ()
    for address in addresses:
        if settings.uses_tls:
            yield (finding := await _certificate(settings, address, seconds))
            if finding.mark.value == "wrong":
                continue
        told = await knocking(settings, str(address), seconds)
        for finding in await _login(settings, told, address, seconds):
            yield finding
        brokers = brokers or told.brokers
    if not brokers:
        raise NoWay
    is_lost = False
    for broker in brokers:
        finding = await _advertised(broker, seconds)
        is_lost |= bool(finding.fix)
        yield finding
    if is_lost:
        raise NoWay


async def _names(
    addresses: Iterable[Address], seconds: float
) -> AsyncIterator[tuple[Address | None, Finding]]:
    for address in addresses:
        try:
            found = await _resolve(address, seconds)
        except (OSError, TimeoutError) as error:
            fact = f"{address.host} has no address: {_reason(error)}"
            yield (
                None,
                wrong("dns", fact, "check bootstrap_servers, and this machine's resolver or hosts file"),
            )
        else:
            yield address, good("dns", f"{address.host} is {', '.join(found)}")


async def _resolve(address: Address, seconds: float) -> list[str]:
    async with asyncio.timeout(seconds):
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


_FIX_PORT = (
    "is a broker running there, is this the port of its listener for clients, and does a firewall let it "
    "through?"
)


async def _port(check: str, address: Address, seconds: float, fix: str) -> Finding:
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except (OSError, TimeoutError) as error:
        return wrong(check, f"{address}: {_reason(error)}", fix)
    await _hang_up(writer)
    return good(check, f"{address} is open ({(time.monotonic() - began) * 1000:.0f} ms)")


async def _certificate(settings: MessagingSettings, address: Address, seconds: float) -> Finding:
    from convex_messaging_fastapi.transport.kafka import tls_context

    try:
        context = tls_context(settings)
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        return wrong("tls", f"{address}: the certificate is not trusted: {error.verify_message}", _FIX_TRUST)
    except (ssl.SSLError, ConnectionResetError) as error:
        return wrong("tls", f"{address}: no TLS handshake: {_reason(error)}", _FIX_TLS)
    except (OSError, TimeoutError) as error:
        return wrong("tls", f"{address}: {_reason(error)}", _FIX_TLS)
    shown = writer.get_extra_info("peercert") or {}
    await _hang_up(writer)
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    days = (ends - datetime.now(UTC)).days
    if days < _SOON_DAYS:
        fact = f"{address}: the certificate ends on {ends:%Y-%m-%d}, in {days} days"
        return doubtful("tls", fact, "renew the broker's certificate")
    return good("tls", f"{address}: trusted, until {ends:%Y-%m-%d}")


_FIX_TRUST = (
    "set ssl_ca_location to the authority that signed it; where the name is what differs, connect by a name "
    "that the certificate has"
)
_FIX_TLS = (
    "does this port speak TLS? If not, set security_protocol to PLAINTEXT or SASL_PLAINTEXT, or take another "
    "port"
)


async def _login(settings: MessagingSettings, told: Knock, address: Address, seconds: float) -> list[Finding]:
    if not told.problem:
        who = settings.sasl_username or settings.sasl_mechanism
        login = (
            [good("login", f"{address}: {who} by {settings.sasl_mechanism}")] if settings.uses_sasl else []
        )
        return [*login, good("broker", f"{address}: Kafka {_release(told)}")]
    if not settings.uses_tls and await _speaks_tls(address, seconds):
        protocol = "SASL_SSL" if settings.uses_sasl else "SSL"
        fact = f"{address} speaks TLS, and security_protocol is {settings.security_protocol}"
        return [wrong("tls", fact, f"set KAFKA_SECURITY_PROTOCOL={protocol}, or take the port without TLS")]
    if told.problem in ("auth_failed", "not_authorized"):
        return [wrong("login", told.detail, _fix_of_login(settings, told))]
    check = "tls" if told.problem == "tls_failed" else "broker"
    return [wrong(check, told.detail, "is this a Kafka broker's listener for clients, and is the broker up?")]


def _fix_of_login(settings: MessagingSettings, told: Knock) -> str:
    if not settings.uses_sasl:
        return "the listener may want a login: set KAFKA_SECURITY_PROTOCOL to SASL_PLAINTEXT or SASL_SSL"
    if not told.mechanisms and told.problem == "auth_failed":
        plain = "SSL" if settings.uses_tls else "PLAINTEXT"
        return f"set KAFKA_SECURITY_PROTOCOL={plain}, or take the port at which the brokers want a login"
    if told.mechanisms and settings.sasl_mechanism not in told.mechanisms:
        return f"set KAFKA_SASL_MECHANISM to one that it offers: {', '.join(told.mechanisms)}"
    return "check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, and that the cluster has this user"


def _release(told: Knock) -> str:
    _, newest = (told.versions or {}).get(_FETCH, (0, 0))
    return next(
        (name for version, name in _RELEASES if newest >= version), "3.0 or older, which is not tested"
    )


async def _speaks_tls(address: Address, seconds: float) -> bool:
    """Whether it would shake hands with whoever trusts anybody; nothing is said there."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    except (OSError, TimeoutError):
        return False
    await _hang_up(writer)
    return True


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """At once: TLS would wait for the other side to hang up too, and be open when all is over."""
    writer.transport.abort()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_HANG_UP_SECONDS):
            await writer.wait_closed()


async def _advertised(broker: SeenBroker, seconds: float) -> Finding:
    """Whether this machine can come to where a broker sends its clients: in containers often not."""
    address = Address(broker.host, broker.port)
    fix = (
        f"let broker {broker.id} advertise an address that clients reach (advertised.listeners), or let this "
        f"machine reach {address}"
    )
    try:
        await _resolve(address, seconds)
    except (OSError, TimeoutError) as error:
        fact = (
            f"broker {broker.id} sends clients to {address}, of which no address is known: {_reason(error)}"
        )
        return wrong("brokers", fact, fix)
    finding = await _port("brokers", address, seconds, fix)
    joined = f"broker {broker.id} sends clients to {address}"
    if finding.fix:
        return wrong("brokers", f"{joined}, where nobody answers: {finding.fact.rpartition(': ')[2]}", fix)
    return good("brokers", f"{joined}, which is open")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error)
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
