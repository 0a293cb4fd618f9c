"""Waiting for something outside this process that cannot call back: ask again until it is so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

EVERY_SECONDS = 0.02

_never = threading.Event()


def until(condition: Callable[[], object], within: float, what: str) -> None:
    """Return once `condition()` is true; fail with `what` after `within` seconds. Blocks the thread."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:g} s for {what}")
        _never.wait(EVERY_SECONDS)
