"""`python -m tools.databases.postgres [PORT]` runs a PostgreSQL on localhost:5432 until it is interrupted."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tools.databases.server import HOST, Server, Unavailable, found, get, missing_of, runs
from tools.unpacking import BUILD

HELP = "apt-get install postgresql, or put initdb, postgres and psql on the PATH"
BINARIES = "/usr/lib/postgresql/*/bin"
PROGRAMS = ("initdb", "postgres", "psql")
UNPACKED = BUILD / "postgresql"
USER = "postgres"


class Postgres(Server):
    """`durable` keeps what was committed through a loss of power too, which takes time."""

    kind = "postgresql"

    def __init__(self, port: int | None = None, *, durable: bool = False) -> None:
        super().__init__(port)
        self._durable = durable

    @property
    def origin(self) -> str:
        return self._run(_program("postgres"), "--version").strip()

    def new_database(self, name: str) -> None:
        self._run(*self._psql, "--command", f'create database "{name}"')

    def url(self, database: str, driver: str) -> str:
        return f"postgresql+{driver}://{USER}@{HOST}:{self.port}/{database}"

    @property
    def _psql(self) -> Sequence[str]:
        where = ("--host", HOST, "--port", str(self.port), "--username", USER, "--dbname", USER)
        return (_program("psql"), *where, "--no-psqlrc", "--quiet")

    def _make(self) -> None:
        options = ("--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
        self._run(_program("initdb"), "--pgdata", str(self.folder / "data"), *options)

    def _command(self) -> Sequence[str]:
        settings = ["unix_socket_directories=", f"listen_addresses={HOST}", "max_connections=200"]
        if not self._durable:
            settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        chosen = [word for setting in settings for word in ("-c", setting)]
        return (_program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *chosen)

    def _answers(self) -> bool:
        try:
            self._run(*self._psql, "--command", "select 1")
        except Unavailable:
            return False
        return True


def _program(name: str) -> str:
    return found(name, BINARIES, str(UNPACKED / BINARIES.lstrip("/")))


def missing() -> str:
    """Why there is no PostgreSQL here; empty where there is one."""
    return missing_of(PROGRAMS, _program, HELP)


def provide() -> None:
    """See to it that there is one, and say so when there will be none."""
    if missing():
        get(_packages(), UNPACKED, "postgresql", _works)
    if reason := missing():
        print(f"no PostgreSQL here, {reason}")


def _packages() -> Sequence[str]:
    """Those of the version that this Debian has: `postgresql` alone only names them."""
    if shutil.which("apt-cache") is None:
        return ()
    asked = subprocess.run(
        ["apt-cache", "depends", "postgresql"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    version = re.search(r"Depends: postgresql-(\d+)", asked.stdout)
    return () if version is None else (f"postgresql-{version[1]}", f"postgresql-client-{version[1]}")


def _works() -> bool:
    """Whether there is one, with all that it needs."""
    return not missing() and runs(_program("postgres"), _program("psql"))


@contextmanager
def open_postgres(port: int | None = None, *, durable: bool = False) -> Iterator[Postgres]:
    """One that runs until this ends. Raises `Unavailable`."""
    if reason := missing():
        raise Unavailable(reason)
    with Postgres(port, durable=durable).running() as server:
        yield server


def main() -> None:
    """One in the foreground, with a database called `app`."""
    began = time.monotonic()
    with open_postgres(int(sys.argv[1]) if len(sys.argv) > 1 else 5432, durable=True) as server:
        server.new_database("app")
        seconds = time.monotonic() - began
        print(f"{server.origin} is ready after {seconds:.1f} s, with a database `app`; Ctrl-C ends it")
        print(f"DATABASE_URL={server.url('app', 'asyncpg')}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    provide() if sys.argv[1:] == ["provide"] else main()
