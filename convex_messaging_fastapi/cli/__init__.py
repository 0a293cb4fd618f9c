"""The command line, `convex-messaging`. Needs the extra `[cli]`.

Its help loads neither FastAPI, pydantic nor aiokafka: whatever needs one of them is imported by the command
that is run, when it is run.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NoReturn

from convex_messaging_fastapi.cli.exits import ExitCode


def main() -> NoReturn:
    """Do what the arguments of this process say, and end it with an `ExitCode`."""
    if any(find_spec(needed) is None for needed in ("typer", "rich")):
        sys.stderr.write(
            "the command line needs Typer and Rich: pip install 'convex-messaging-fastapi[cli]'\n"
        )
        sys.exit(ExitCode.USAGE)
    from convex_messaging_fastapi.cli.tree import run

    sys.exit(run())
