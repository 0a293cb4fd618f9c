"""Child processes that never outlive this one, however it ends.

A watchdog holds the other end of a pipe; when this process is gone, be it by SIGKILL, the pipe
closes and the watchdog kills what is left. (The kernel's parent-death signal will not do: it
fires at the end of the *thread* that started the child.)
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

_WATCHDOG = """
import os, shutil, signal, sys
pids, folders = set(), set()
for line in sys.stdin:
    verb, what = line.rstrip("\\n").split(" ", 1)
    {"watch": lambda: pids.add(int(what)), "forget": lambda: pids.discard(int(what)),
     "remove": lambda: folders.add(what)}[verb]()
for pid in pids:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


class Child:
    """One process in a process group of its own, its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, **options: Any) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        _tell("watch", self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal that ended it, or `None` while it runs."""
        return self._process.poll()

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            os.killpg(self.pid, number)

    def wait(self, within: float) -> int:
        """Its exit code; `subprocess.TimeoutExpired` when it goes on."""
        code = self._process.wait(within)
        _tell("forget", self.pid)
        return code

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.wait(10)

    def terminate(self, within: float = 30) -> int:
        """SIGTERM; its exit code. One that does not end in time is killed and told of."""
        self.send(signal.SIGTERM)
        try:
            return self.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def remove_at_end(folder: Path) -> None:
    """Have `folder` removed when this process is gone, should nobody have done it before."""
    _tell("remove", folder)


def _tell(verb: str, what: object) -> None:
    pipe = _watchdog()
    pipe.write(f"{verb} {what}\n")
    pipe.flush()


@functools.cache
def _watchdog() -> IO[str]:
    watchdog = subprocess.Popen(
        [sys.executable, "-c", _WATCHDOG], stdin=subprocess.PIPE, text=True, start_new_session=True
    )
    assert watchdog.stdin is not None
    watchdog.returncode = 0  # it outlives us on purpose; do not warn that it was left running
    return watchdog.stdin
