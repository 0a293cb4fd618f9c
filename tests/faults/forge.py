"""A process that has loaded what mutants need, and becomes one of them in a fork for each that is asked for.

It is told the tests that may be asked for, and collects them once: a fork finds their modules loaded.
It takes a line of JSON a mutant: its name, the arguments of pytest, and the file for what pytest prints.
It answers with a line when that run has ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from threading import Timer

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 100

ALREADY_LOADED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"


class Forge:
    """The other end of that process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, variable: str, mutant: str, arguments: Sequence[str], log: Path) -> None:
        """Return when that mutant's run has ended, or was ended after 100 s together with the forge."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        overdue = Timer(SECONDS, self._process.kill)
        overdue.start()
        try:
            stdin.write(json.dumps([variable, mutant, arguments, str(log)]) + "\n")
            stdin.flush()
            assert stdout.readline(), f"{mutant or 'no mutant'} has not ended within {SECONDS} s"
        finally:
            overdue.cancel()


@contextmanager
def forge(tests: Iterable[str]) -> Iterator[Forge]:
    """One that is loading what these tests need; gone at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.forge", *sorted(tests)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Forge(process)
        process.kill()


def main() -> None:
    _collect(sys.argv[1:])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(_become(*json.loads(line)))
        os.waitpid(child, 0)
        sys.stdout.write("ended\n")
        sys.stdout.flush()


def _collect(tests: list[str]) -> None:
    options = ("-p", "tests.faults.mutants", "-p", "no:cacheprovider", "--collect-only", "-q")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        pytest.main([*options, *tests])


def _become(variable: str, mutant: str, arguments: list[str], log: str) -> int:
    out = os.open(log, os.O_WRONLY | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    os.environ[variable] = mutant
    return int(pytest.main(["-W", ALREADY_LOADED, *arguments]))


if __name__ == "__main__":
    main()
