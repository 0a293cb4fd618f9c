"""A process that has loaded what mutants need, and becomes one of them in a fork for each that is asked for.

It is told the tests that may be asked for, and collects them once: a fork finds their modules loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.support.forks import Forks, forks_of, serve

ALREADY_LOADED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"


class Forge:
    """The other end of that process."""

    def __init__(self, forks: Forks) -> None:
        self._forks = forks

    def run(self, variable: str, mutant: str, arguments: Sequence[str], log: Path) -> None:
        """Return when that mutant's run has ended, or was ended after 100 s together with the forge."""
        self._forks.run(mutant or "no mutant", [variable, mutant, arguments, str(log)])


@contextmanager
def forge(tests: Iterable[str]) -> Iterator[Forge]:
    """One that is loading what these tests need; gone at the end."""
    with forks_of("tests.faults.forge", *sorted(tests)) as forks:
        yield Forge(forks)


def main() -> None:
    _collect(sys.argv[1:])
    serve(_become)


def _collect(tests: list[str]) -> None:
    options = ("-p", "tests.faults.mutants", "-p", "no:cacheprovider", "--collect-only", "-q")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        pytest.main([*options, *tests])


def _become(variable: str, mutant: str, arguments: list[str], log: str) -> None:
    """`log` is the file for what pytest prints."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    os.environ[variable] = mutant
    os._exit(int(pytest.main(["-W", ALREADY_LOADED, *arguments])))


if __name__ == "__main__":
    main()
