"""What a handler can do to its own process, once, when its variables say so."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Mapping

BLOCK, BLOCK_SECONDS = "FAULTS_BLOCK", "FAULTS_BLOCK_SECONDS"
HANG = "FAULTS_HANG"
CRASH, CRASH_BY, CRASH_MARK = "FAULTS_CRASH", "FAULTS_CRASH_BY", "FAULTS_CRASH_MARK"


def block() -> None:
    """Keeps the event loop from its turns, as a forgotten synchronous call does."""
    threading.Event().wait(float(os.environ[BLOCK_SECONDS]))


def segfault() -> None:
    ctypes.string_at(0)


def system_exit() -> None:
    sys.exit(3)


def exit_at_once() -> None:
    os._exit(3)


def recursion() -> None:
    recursion()


CRASHES: Mapping[str, Callable[[], None]] = {
    crash.__name__: crash for crash in (segfault, system_exit, exit_at_once, recursion)
}


def happen(id: int) -> None:
    """The accident that is meant for this message: once, which the file `FAULTS_CRASH_MARK` remembers."""
    if str(id) == os.environ.get(BLOCK):
        _once(block)
    if str(id) == os.environ.get(CRASH):
        _once(CRASHES[os.environ[CRASH_BY]])


def hangs(id: int) -> bool:
    """Whether the handler of this message is to wait for ever: once, like the others."""
    return str(id) == os.environ.get(HANG) and is_first()


def is_first() -> bool:
    """Whether no accident has happened yet, in whichever process."""
    try:
        os.close(os.open(os.environ[CRASH_MARK], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _once(accident: Callable[[], None]) -> None:
    if is_first():
        accident()
