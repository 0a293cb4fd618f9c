"""A process that has loaded what takes long, and forks for each piece of work that it is told.

A line of JSON tells the work, and a line with the fork's exit code answers once that has ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

ROOT = Path(__file__).parents[2]
SECONDS = 100


class Forks:
    """The other end of that process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, what: str, work: Sequence[object]) -> int:
        """The exit code of a fork. The process is killed, and this fails, where one takes over 100 s."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        overdue = Timer(SECONDS, self._process.kill)
        overdue.start()
        try:
            stdin.write(json.dumps(work) + "\n")
            stdin.flush()
            answer = stdout.readline()
        finally:
            overdue.cancel()
        assert answer, f"{what} has not ended within {SECONDS} s"
        return int(answer)


@contextmanager
def forks_of(module: str, *arguments: str) -> Iterator[Forks]:
    """Forks of `python -m module`, which is to call `serve`; gone at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Forks(process)
        process.kill()


def serve(become: Callable[..., object]) -> None:
    """Answer the other end until it closes. A fork does its work and returns, to end as a process does."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(*json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
