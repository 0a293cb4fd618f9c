"""Programs in new processes: forks of one that has loaded what takes long and is not ours.

To load FastAPI and aiokafka takes a second of a processor, a fork a hundredth of that. Our package is
loaded by each program for itself, and each ends as any process does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tests.support.forks import Forks, forks_of, serve

NOT_OURS = ("aiokafka", "fastapi.testclient", "pydantic_settings")


class Ended(NamedTuple):
    """What a program has written by its end, and its exit code."""

    code: int
    out: str
    err: str


class Fresh:
    """The other end of that process."""

    def __init__(self, forks: Forks) -> None:
        self._forks = forks

    def run(self, program: str, folder: Path) -> Ended:
        """As `python main.py`, in a folder that has nothing else; it has 100 s."""
        (folder / "main.py").write_text(program)
        code = self._forks.run("the program", [str(folder)])
        return Ended(code, (folder / "out").read_text(), (folder / "err").read_text())


@contextmanager
def fresh_processes() -> Iterator[Fresh]:
    with forks_of("tests.support.fresh") as forks:
        yield Fresh(forks)


def main() -> None:
    for name in NOT_OURS:
        import_module(name)
    serve(_become)


def _become(folder_name: str) -> None:
    folder = Path(folder_name)
    for descriptor, path in enumerate((Path(os.devnull), folder / "out", folder / "err")):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    os.chdir(folder)
    file = folder / "main.py"
    sys.argv = [str(file)]
    module = sys.modules["__main__"] = ModuleType("__main__")
    module.__file__ = str(file)
    exec(compile(file.read_text(), file, "exec"), vars(module))  # noqa: S102 - a test's own program


if __name__ == "__main__":
    main()
