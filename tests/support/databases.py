"""A fresh database for a test, on a PostgreSQL or MariaDB that starts when the first one is asked for."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import pytest

from tests.support.telling import telling
from tools.databases.mariadb import open_mariadb
from tools.databases.postgres import open_postgres
from tools.databases.server import Server, Unavailable

DATABASES = ("postgres", "mariadb")
"""The fixtures that start one; a test that asks for one of them is marked so."""

_AWAITED = {"postgresql": "asyncpg", "mariadb": "aiomysql"}
_BLOCKING = {"postgresql": "psycopg", "mariadb": "pymysql"}


@dataclass(frozen=True)
class Database:
    """An empty database. `server` may be stopped, killed and started, as long as it runs in the end."""

    server: Server
    name: str

    @property
    def async_url(self) -> str:
        return self.server.url(self.name, _AWAITED[self.server.kind])

    @property
    def sync_url(self) -> str:
        return self.server.url(self.name, _BLOCKING[self.server.kind])


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    with ExitStack() as ends:
        yield _start(ends, open_postgres, "postgres", pytestconfig)


@pytest.fixture(scope="session")
def mariadb_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    with ExitStack() as ends:
        yield _start(ends, open_mariadb, "mariadb", pytestconfig)


@pytest.fixture
def postgres(postgres_server: Server) -> Database:
    """A database of a real PostgreSQL that nobody else uses."""
    return _new_database(postgres_server)


@pytest.fixture
def mariadb(mariadb_server: Server) -> Database:
    """A database of a real MariaDB that nobody else uses."""
    return _new_database(mariadb_server)


def _new_database(server: Server) -> Database:
    name = f"test_{uuid.uuid4().hex[:12]}"
    server.new_database(name)
    return Database(server, name)


def _start(
    ends: ExitStack,
    opening: Callable[[], AbstractContextManager[Server]],
    name: str,
    config: pytest.Config,
) -> Server:
    told, began = telling(config).summary, time.monotonic()
    try:
        server = ends.enter_context(opening())
    except Unavailable as reason:
        told.append(f"{name}: none, its tests were left out: {reason}")
        required = f"REQUIRE_{name.upper()}"
        if os.environ.get(required) == "1":
            pytest.fail(f"{required}=1, but there is none: {reason}", pytrace=False)
        pytest.skip(f"no {name}: {reason}")
    told.append(f"{name}: {server.origin}, ready after {time.monotonic() - began:.1f} s")
    return server
