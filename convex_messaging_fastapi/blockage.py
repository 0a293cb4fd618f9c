"""Notices from its own thread that the event loop is blocked, and says which code blocks it."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from convex_messaging_fastapi import reports
from convex_messaging_fastapi.failures import is_users, package_of, place_of

ASK_EVERY_SECONDS = 0.5
LATE_SECONDS = 1.0
"""A later answer is logged. Heartbeats of a group are due about every second, too."""

KNOWN_SECONDS = 60.0
"""For this long the same code at the same place is counted, and not logged again."""

_LOOPS = ("asyncio", "uvloop", "uvicorn")
_IDLE = ("selectors", "select", *_LOOPS)
_LIBRARIES = tuple({path for name, path in sysconfig.get_paths().items() if name in ("stdlib", "platstdlib")})


Whose = Callable[[asyncio.Task[Any]], reports.AtWork | None]
"""The handler that a task runs, if any; called from another thread while the loop is blocked."""


class LoopWatch:
    """Asks the running loop for an answer again and again, which costs the handling of messages nothing.

    It measures real time, so a test's clock is of no use here. If the whole process got no CPU time, the
    code that it names only happened to run, and blocked nothing.
    """

    def __init__(self, *, every: float = ASK_EVERY_SECONDS, late: float = LATE_SECONDS) -> None:
        self._every, self._late = every, late
        self._ended = threading.Event()
        self._answered = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: dict[tuple[str | None, str], _Told] = {}

    def start(self, whose: Whose) -> None:
        """Begin to watch the loop of this thread."""
        watched = asyncio.get_running_loop(), threading.get_ident(), whose
        self._thread = threading.Thread(target=self._run, args=watched, name="convex-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for that. Does nothing where there is none."""
        self._ended.set()
        self._answered.set()
        if self._thread is not None:
            self._thread.join(1.0)  # it does nothing that takes long, unless a log handler does

    def _run(self, loop: asyncio.AbstractEventLoop, thread: int, whose: Whose) -> None:
        while not self._ended.wait(self._every):
            asked = time.monotonic()
            self._answered = answered = threading.Event()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop is closed
                return
            if self._ended.is_set() or answered.wait(self._late):
                continue
            if (found := _culprit(loop, thread, whose)) is None:
                continue  # the process itself stood still, and goes on now
            work, place = found
            more = self._kept_back(work, place, asked)
            reports.loop_blocked(work, place, time.monotonic() - asked, more=more)
            while not answered.wait(self._late) and not loop.is_closed():
                pass
            if answered.is_set() and not self._ended.is_set():
                reports.loop_goes_on(work, time.monotonic() - asked, is_known=more is None)

    def _kept_back(self, work: reports.AtWork | None, place: str, now: float) -> int | None:
        """How often the same was kept back since it was told; `None` where it is kept back again."""
        who = None if work is None else work.handler, place
        told = self._told.get(who)
        if told is not None and now - told.at < KNOWN_SECONDS:
            self._told[who] = told._replace(more=told.more + 1)
            return None
        self._told[who] = _Told(now, 0)
        return 0 if told is None else told.more


class _Told(NamedTuple):
    """When a blockage was logged, and how often the same was only counted since."""

    at: float
    more: int


def _culprit(
    loop: asyncio.AbstractEventLoop, thread: int, whose: Whose
) -> tuple[reports.AtWork | None, str] | None:
    """What blocks the loop, and where; `None` if it only waits for something to do."""
    task = asyncio.current_task(loop)
    frames = list(_frames_of_a_step(sys._current_frames().get(thread)))
    if task is None and all(package_of(frame) in _IDLE for frame in frames):
        return None
    try:
        work = None if task is None else whose(task)
    except RuntimeError:  # the loop goes on by now, and changed a dictionary during the look
        work = None
    return work, _place(frames)


def _frames_of_a_step(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost frame out to the loop, whose callers do not block it."""
    while frame is not None and package_of(frame) not in _LOOPS:
        yield frame
        frame = frame.f_back


def _place(frames: list[FrameType]) -> str:
    """The innermost place in the service's own code, and the place in a library where it waits."""
    if not frames:
        return "a place that is not known"
    innermost = frames[0]
    own = next((frame for frame in frames if is_users(frame) and not _is_library(frame)), innermost)
    place = place_of(own, own.f_lineno)
    return place if own is innermost else f"{place}, in {place_of(innermost, innermost.f_lineno)}"


def _is_library(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return "site-packages" in file or "dist-packages" in file or file.startswith(_LIBRARIES)
