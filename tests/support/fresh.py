"""Programs in new processes: forks of one that has loaded what takes long and is not ours.

To load FastAPI and aiokafka takes a second of a processor, a fork a hundredth of that. Our package is
loaded by each program for itself, and each ends as any process does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

NOT_OURS = ("aiokafka", "fastapi.testclient", "pydantic_settings")


class Ended(NamedTuple):
    """What a program has written by its end, and its exit code."""

    code: int
    out: str
    err: str


class Fresh:
    """The other end of that process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, program: str, folder: Path) -> Ended:
        """As `python main.py`, in a folder that has nothing else."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        (folder / "main.py").write_text(program)
        self._process.stdin.write(json.dumps(str(folder)) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Ended(code, (folder / "out").read_text(), (folder / "err").read_text())


@contextmanager
def fresh_processes() -> Iterator[Fresh]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.fresh"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Fresh(process)
        process.kill()


def main() -> None:
    for name in NOT_OURS:
        import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(Path(json.loads(line)))
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(folder: Path) -> None:
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
