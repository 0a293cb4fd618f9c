"""Names whose types a type checker would have to guess, in an environment with the wheel installed.

    python -m tools.public_types build/fresh

Asks `pyright --verifytypes`. The Kafka transport is left out: its classes derive from aiokafka's, which
has no types, and no signature of a public name shows one of them. The command line is left out
too: people type it, and nobody imports it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NAME = "convex_messaging_fastapi"
UNTYPED_BELOW = (f"{NAME}.transport.kafka.", f"{NAME}.cli.")


def main(environment: Path) -> None:
    report = verified(environment)
    found = list(guessed(report))
    for line in found:
        print(line)
    if found:
        sys.exit(f"{len(found)} names have no type of their own: annotate them")
    print(f"{len(report['typeCompleteness']['symbols'])} names have types")


def verified(environment: Path) -> Mapping[str, Any]:
    """What pyright reports of the package that is installed there."""
    home = environment.resolve()
    asked: list[str | Path] = [
        Path(sys.executable).with_name("pyright"),
        "--verifytypes",
        NAME,
        "--ignoreexternal",
        "--outputjson",
    ]
    # It looks for packages where the first `python` of the path does.
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(asked, cwd=home, env=os.environ | {"PATH": path}, capture_output=True, check=False)
    report: Mapping[str, Any] = json.loads(done.stdout)
    if not report["typeCompleteness"]["symbols"]:
        sys.exit(f"pyright found no {NAME} in {home}: {done.stdout.decode()}")
    return report


def guessed(report: Mapping[str, Any]) -> Iterator[str]:
    """A line for each name whose type is not known, or would be inferred: what is missing."""
    for symbol in report["typeCompleteness"]["symbols"]:
        if not symbol["isExported"] or symbol["name"].startswith(UNTYPED_BELOW):
            continue
        if not symbol["isTypeKnown"]:
            said = [each["message"].split("\n")[0] for each in symbol["diagnostics"]]
            yield f"{symbol['name']}: {'; '.join(said) or 'one of its members has no type'}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
