"""A MariaDB for tests: its programs on the machine, else Debian's packages, unpacked in `build`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.databases.server import HOST, Server, Unavailable, found, get, missing_of, runs
from tools.unpacking import BUILD

HELP = "apt-get install mariadb-server, or put mariadbd, mariadb-install-db and mariadb on the PATH"
BINARIES = "/usr/sbin"
PROGRAMS = ("mariadb-install-db", "mariadbd", "mariadb")
UNPACKED = BUILD / "mariadb"
PACKAGES = ("mariadb-server-core", "mariadb-client-core")
USER = "root"


class MariaDB(Server):
    """Durable only as far as a crash of the process goes."""

    kind = "mariadb"
    _stop_signal = signal.SIGTERM

    @property
    def origin(self) -> str:
        return self._run(_program("mariadbd"), "--no-defaults", "--version").strip()

    def new_database(self, name: str) -> None:
        self._run(*self._client, "--execute", f"create database `{name}` character set utf8mb4")

    def url(self, database: str, driver: str) -> str:
        return f"mariadb+{driver}://{USER}@{HOST}:{self.port}/{database}"

    @property
    def _client(self) -> Sequence[str]:
        return (
            _program("mariadb"),
            "--no-defaults",
            "--protocol=tcp",
            f"--host={HOST}",
            f"--port={self.port}",
            f"--user={USER}",
        )

    def _make(self) -> None:
        self._run(
            _program("mariadb-install-db"),
            "--no-defaults",
            *_base(),
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        )

    def _command(self) -> Sequence[str]:
        return (
            _program("mariadbd"),
            "--no-defaults",
            *_base(),
            f"--datadir={self.folder / 'data'}",
            f"--port={self.port}",
            f"--bind-address={HOST}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            "--skip-name-resolve",
            "--max-allowed-packet=64M",
            "--innodb-flush-log-at-trx-commit=0",
        )

    def _answers(self) -> bool:
        try:
            self._run(*self._client, "--execute", "select 1")
        except Unavailable:
            return False
        return True


def _program(name: str) -> str:
    return found(name, BINARIES, *(str(UNPACKED / "usr" / folder) for folder in ("bin", "sbin")))


def _base() -> Sequence[str]:
    """Where the server finds what belongs to it, if it is not where Debian installs it."""
    is_unpacked = Path(_program("mariadbd")).is_relative_to(UNPACKED)
    return (f"--basedir={UNPACKED / 'usr'}",) if is_unpacked else ()


def missing() -> str:
    """Why there is no MariaDB here; empty where there is one."""
    return missing_of(PROGRAMS, _program, HELP)


def provide() -> None:
    """See to it that there is one, and say so when there will be none."""
    if missing():
        get(PACKAGES, UNPACKED, "mariadb-server", _works)
    if reason := missing():
        print(f"no MariaDB here, {reason}")


def _works() -> bool:
    """Whether there is one, with all that it needs."""
    return not missing() and runs(_program("mariadbd"), _program("mariadb"))


@contextmanager
def open_mariadb(port: int | None = None) -> Iterator[MariaDB]:
    """One that runs until this ends. Raises `Unavailable`."""
    if reason := missing():
        raise Unavailable(reason)
    with MariaDB(port).running() as server:
        yield server


if __name__ == "__main__":
    provide() if sys.argv[1:] == ["provide"] else sys.exit("say provide")
