"""The command line as a person uses it: in this process, which is fast, or in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.support.services import clean_environment

MODULE = (sys.executable, "-m", "convex_messaging_fastapi")


class Ran(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Cli(Protocol):
    def __call__(self, *arguments: str) -> Ran: ...


def ran(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, within: float = 60
) -> Ran:
    """A process of its own, whose output goes into pipes."""
    done = subprocess.run(
        [*MODULE, *arguments],
        cwd=folder,
        env=clean_environment() | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
