"""What of the package's log a command shows: warnings, on one line each. All of it with `--debug`."""

from __future__ import annotations

import logging

from convex_messaging_fastapi.cli.output import Output

_OURS, _ENGINE = "convex_messaging_fastapi", "aiokafka"


class _Warnings(logging.Handler):
    def __init__(self, out: Output) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.say(f"{record.levelname.lower()}: {record.getMessage()}")


def be_quiet(out: Output, *, debug: bool) -> None:
    """Until the process ends. The app's own logging is its own matter."""
    ours, engine = logging.getLogger(_OURS), logging.getLogger(_ENGINE)
    ours.propagate = False
    ours.handlers[:] = [_Warnings(out)]
    ours.setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        engine.setLevel(logging.CRITICAL + 1)
