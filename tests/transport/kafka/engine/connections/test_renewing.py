"""Passwords and certificates that change in their files are taken up by the next connection."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from convex_messaging_fastapi.transport.base import Problem
from convex_messaging_fastapi.transport.kafka.engine import CandidConnection, Client, Distrusted
from convex_messaging_fastapi.transport.kafka.engine.connections.security import Access
from convex_messaging_fastapi.transport.kafka.recovery.diagnosis import Explanation
from convex_messaging_fastapi.transport.kafka.recovery.probe import Reached, reach
from tests.transport.kafka.bench import settings
from tests.transport.kafka.false_broker import HOST, FalseBroker, false_broker


def _sasl(server: str, file: Path, mechanism: str = "PLAIN") -> Access:
    return Access(
        settings(
            server,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism=mechanism,
            sasl_username="svc",
            sasl_password_file=str(file),
        )
    )


def _write(file: Path, text: str) -> None:
    file.write_text(text)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("the first\n")
    return file


async def test_a_password_is_read_again_at_every_login(password: Path) -> None:
    """By the connections of a client that runs, not only by one that is made again."""
    async with false_broker() as broker:
        access = _sasl(broker.address, password)
        client = Client(bootstrap_servers=access.servers, request_timeout_ms=2000, **access.credentials)
        try:
            await client.bootstrap()
            _write(password, "the second")
            client.close_connections()
            assert await client.ready(0)
        finally:
            await client.close()
    assert [login.rpartition(b"\0")[2] for login in broker.logins] == [b"the first", b"the second"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_it_is_of_the_connection_that_read_it_alone(password: Path, mechanism: str) -> None:
    async with false_broker() as broker:
        credentials = _sasl(broker.address, password, mechanism).credentials
        for written in ("the first", "the second"):
            _write(password, written)
            connection = CandidConnection(HOST, broker.port, **credentials)
            try:
                await connection.connect()
            except Distrusted:
                assert mechanism != "PLAIN", "the broker knows no SCRAM"
            finally:
                connection.close()
            assert connection._sasl_plain_password == written
    assert "the first" not in repr(credentials)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.unlink(), "No such file or directory"),
        (lambda file: file.write_text("\n"), "it is empty"),
        (lambda file: file.write_bytes(b"\xff"), "it is not UTF-8 text"),
    ],
    ids=["missing", "empty", "no text"],
)
async def test_without_one_nobody_is_asked_to_let_us_in(
    password: Path, spoil: Callable[[Path], Any], reason: str
) -> None:
    async with false_broker() as broker:
        access = _sasl(broker.address, password)
        spoil(password)
        found = await reach(access, "svc", 2.0)
        assert isinstance(found, Explanation)
        assert found.problem is Problem.AUTHENTICATION_FAILED
        assert f"the password cannot be read: sasl_password_file is {password}: {reason}" in found.detail
        assert broker.logins == []

        _write(password, "again")
        assert isinstance(await reach(access, "svc", 2.0), Reached)


# Certificates.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` and `two`: certificates of this machine, each its own authority, with their keys."""
    made = tmp_path_factory.mktemp("certificates")
    for name in ("one", "two"):
        subject = f"-subj /CN={name} -addext subjectAltName=IP:{HOST}"
        command = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.crt -days 2 {subject}"
        )
        subprocess.run(command.split(), cwd=made, check=True, capture_output=True, timeout=60)
    return made


@asynccontextmanager
async def tls_broker(folder: Path, name: str) -> AsyncIterator[FalseBroker]:
    """Shows the certificate of that name, and wants one that it signed itself."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / f"{name}.crt"))
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # a refusal comes within the handshake
    broker = FalseBroker([])
    async with await asyncio.start_server(broker.welcome, HOST, 0, ssl=context) as server:
        broker.address = f"{HOST}:{server.sockets[0].getsockname()[1]}"
        broker.advertised = [(HOST, broker.port)]
        try:
            yield broker
        finally:
            await broker.hang_up()


class Files:
    """What a service is given as its certificates, to be changed under its hands."""

    def __init__(self, origin: Path, place: Path) -> None:
        self.origin, self.place = origin, place

    def put(self, authority: str, certificate: str) -> None:
        for name, of in (("ca.crt", f"{authority}.crt"), ("our.crt", f"{certificate}.crt")):
            shutil.copy(self.origin / of, self.place / name)
        shutil.copy(self.origin / f"{certificate}.key", self.place / "our.key")

    def access(self, server: str) -> Access:
        return Access(
            settings(
                server,
                security_protocol="SSL",
                ssl_ca_location=str(self.place / "ca.crt"),
                ssl_certificate_location=str(self.place / "our.crt"),
                ssl_key_location=str(self.place / "our.key"),
            )
        )


@pytest.fixture
def files(folder: Path, tmp_path: Path) -> Files:
    return Files(folder, tmp_path)


async def _is_let_in(broker: FalseBroker, credentials: dict[str, Any]) -> bool:
    connection = CandidConnection(HOST, broker.port, request_timeout_ms=5000, **credentials)
    try:
        await connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("two", "one"), ("one", "one")),
        (("one", "two"), ("one", "one")),
        (("two", "two"), ("one", "one")),
    ],
    ids=["the authority", "the certificate", "both"],
)
async def test_certificates_are_read_again_by_every_connection(
    folder: Path, files: Files, before: tuple[str, str], after: tuple[str, str]
) -> None:
    """Of a client that runs: it was given its context once."""
    files.put(*before)
    async with tls_broker(folder, "one") as broker:
        credentials = files.access(broker.address).credentials
        assert not await _is_let_in(broker, credentials)
        files.put(*after)
        assert await _is_let_in(broker, credentials)
        files.put(*before)
        assert not await _is_let_in(broker, credentials), "the old authority, or certificate, is forgotten"


def test_a_context_is_made_again_only_when_a_file_has_changed(files: Files) -> None:
    files.put("one", "one")
    access = files.access("localhost:1")
    context = access.credentials["ssl_context"]
    assert access.credentials["ssl_context"] is context.renewed() is context
    files.put("two", "one")
    renewed = context.renewed()
    assert renewed is not context
    assert renewed is context.renewed() is access.credentials["ssl_context"]
    assert (renewed.verify_mode, renewed.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("name", ["ca.crt", "our.crt", "our.key"])
async def test_a_file_that_is_gone_is_told_and_taken_up_when_it_is_back(
    folder: Path, files: Files, name: str
) -> None:
    files.put("one", "one")
    async with tls_broker(folder, "one") as broker:
        access = files.access(broker.address)
        assert isinstance(await reach(access, "svc", 5.0), Reached)
        (files.place / name).unlink()
        found = await reach(access, "svc", 5.0)
        assert isinstance(found, Explanation)
        assert found.problem is Problem.TLS_FAILED
        assert "cannot be read: ssl_" in found.detail
        files.put("one", "one")
        assert isinstance(await reach(access, "svc", 5.0), Reached)
