"""Says once, when the process ends, which handlers got no message because nothing started their bus."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from weakref import WeakSet

from convex_messaging_fastapi import reports

OF_THE_PARENT = "__mp_main__"
"""The name that multiprocessing gives the parent's main file when a child imports it."""


class Declared(Protocol):
    """The part of a declaration that is used here."""

    @property
    def id(self) -> str: ...

    @property
    def handler(self) -> Callable[..., Any]: ...


class Unstarted:
    """The declarations of living buses that have not started."""

    def __init__(self) -> None:
        self._waiting: WeakSet[Iterable[Declared]] = WeakSet()
        self._started: set[object] = set()
        self._may_run_elsewhere = False

    def expect(self, declarations: Iterable[Declared]) -> None:
        """Note that their bus ought to start."""
        self._waiting.add(declarations)

    def started(self, declarations: Iterable[Declared]) -> None:
        """Note that their bus has started, has tried to, or is on a test bench."""
        self._waiting.discard(declarations)
        self._started.update(_place(declared) for declared in declarations)

    def say(self) -> None:
        if self._may_run_elsewhere or _has_spawned():
            return  # a server's parent process imports the app, and its children run it
        # `python main.py` with uvicorn.run("main:app") makes a bus twice, and runs the second one.
        ids = sorted(
            declared.id
            for declarations in self._waiting
            for declared in declarations
            if _place(declared) not in self._started and _module(declared) != OF_THE_PARENT
        )
        if ids:
            reports.never_started(ids)

    def in_the_parent_of_a_fork(self) -> None:
        self._may_run_elsewhere = True

    def in_the_child_of_a_fork(self) -> None:
        self._may_run_elsewhere = False


def _place(declared: Declared) -> object:
    """The place where the handler is written: the same for each import of its file."""
    written = inspect.unwrap(declared.handler)
    code = getattr(getattr(written, "__func__", written), "__code__", None)
    return declared.id if code is None else (code.co_filename, code.co_firstlineno)


def _module(declared: Declared) -> object:
    return getattr(declared.handler, "__module__", None)


def _has_spawned() -> bool:
    """Whether multiprocessing has begun another process; it imports these modules only then."""
    return any(name.startswith("multiprocessing.popen_") for name in sys.modules)


def _say_at_the_end() -> None:
    # If the log's stream is closed by now, logging would print a traceback.
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        unstarted.say()
    finally:
        logging.raiseExceptions = before


unstarted: Unstarted = Unstarted()
atexit.register(_say_at_the_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        after_in_parent=unstarted.in_the_parent_of_a_fork, after_in_child=unstarted.in_the_child_of_a_fork
    )
