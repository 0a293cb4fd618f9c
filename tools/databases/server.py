"""A database server in a folder of its own, as a child of this process, that can be stopped and killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import run
from typing import Any, Self

from tools.kafka.common import free_ports
from tools.machine import apt_install
from tools.processes import Child, remove_at_end
from tools.unpacking import unpack
from tools.waiting import until

HOST = "127.0.0.1"
READY_SECONDS = 60


class Unavailable(Exception):
    """There is no such database here; the text says why, and what helps."""


class Server(ABC):
    """Listens on `port` of this machine alone, without a password. Data live in a temporary folder."""

    kind: str
    """What it is called, as a driver's URL has it."""

    def __init__(self, port: int | None = None) -> None:
        self.port: int = port or next(free_ports())
        self.folder: Path = Path(tempfile.mkdtemp(prefix=f"{self.kind}-"))
        remove_at_end(self.folder)
        self._child: Child | None = None
        self._user = _unprivileged()
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)

    def open(self) -> None:
        """Make its files, and start it."""
        self._make()
        self.start()

    def start(self) -> None:
        """Return once it answers."""
        child = self._child = Child(self._command(), self.folder / "log", **self._as())
        until(lambda: self._answers() or not child.alive, READY_SECONDS, f"{self.kind} to answer")
        if not child.alive:
            raise Unavailable(f"{self.kind} ended at once: {child.tail()}")

    def stop(self) -> None:
        """End it as an administrator would who restarts it: at once, and without losing anything."""
        if self._child is not None:
            self._child.send(self._stop_signal)
            self._child.wait(READY_SECONDS)
            self._child = None

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Open until this ends."""
        try:
            self.open()
            yield self
        finally:
            self.close()

    @property
    @abstractmethod
    def origin(self) -> str:
        """Which version it is."""

    @abstractmethod
    def new_database(self, name: str) -> None: ...

    @abstractmethod
    def url(self, database: str, driver: str) -> str:
        """For SQLAlchemy."""

    _stop_signal = signal.SIGINT

    @abstractmethod
    def _make(self) -> None: ...

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _run(self, *command: str) -> str:
        done = run(command, capture_output=True, text=True, check=False, cwd=self.folder, **self._as())
        if done.returncode != 0:
            raise Unavailable(f"{command[0]} failed: {done.stderr or done.stdout}")
        return str(done.stdout)

    def _as(self) -> dict[str, Any]:
        """What a process is started with: neither of these servers runs as root."""
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": ()}


def _unprivileged() -> pwd.struct_passwd | None:
    """Whose the server's files and processes are; `None` where they are our own."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("nobody")


def found(program: str, *folders: str) -> str:
    """Its path, on the PATH or in one of these folders, whose names may have a `*`."""
    if path := shutil.which(program):
        return path
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if path := shutil.which(program, path=folder):
                return path
    raise Unavailable(f"{program} is not here")


def get(packages: Sequence[str], folder: Path, installed: str, works: Callable[[], bool]) -> None:
    """Unpack these in `folder`; or install `installed`, as root.

    That is done where the user that a server runs as cannot go there, and where a library is missing.
    """
    if _unprivileged() is None or _is_open_to_all(folder.parent):
        print(f"fetching {' '.join(packages)}", flush=True)
        if packages and unpack(packages, folder) and works():
            return
        shutil.rmtree(folder, ignore_errors=True)
    apt_install(installed)


def runs(*programs: str) -> bool:
    """Whether each says which version it is."""
    return all(
        run((each, "--version"), capture_output=True, check=False).returncode == 0 for each in programs
    )


def _is_open_to_all(folder: Path) -> bool:
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents) if each.exists())


def missing_of(programs: Iterable[str], find: Callable[[str], str], help: str) -> str:
    """Why one of these programs is not here, and what helps; empty where all are."""
    try:
        for program in programs:
            find(program)
    except Unavailable as reason:
        return f"{reason}: {help}"
    return ""
